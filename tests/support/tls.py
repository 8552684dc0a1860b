"""Certificates made with openssl(1) at test time; nothing secret is kept in the repository."""

import pathlib
import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Authority:
    """A certificate authority in a directory: `ca` is its certificate, issue() makes server or client certificates."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = self.directory / "ca.pem"
        self.key = self.directory / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256",
                 "-days", "30", "-subj", "/CN=outtray test authority", "-keyout", self.key, "-out", self.ca)

    def issue(self, name="server", hosts=("localhost", "127.0.0.1"), start=None, end=None):
        """Returns (certificate, key) for hosts. start and end are "YYYYMMDDHHMMSSZ", for certificates out of time."""
        certificate = self.directory / f"{name}.pem"
        key = self.directory / f"{name}.key"
        request = self.directory / f"{name}.csr"
        extensions = self.directory / f"{name}.ext"
        alternatives = ",".join(("IP:" if host.replace(".", "").isdigit() or ":" in host else "DNS:") + host for host in hosts)
        extensions.write_text(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-subj", f"/CN={hosts[0]}", "-keyout", key, "-out", request)
        if start or end:
            self._issue_dated(name, request, extensions, certificate, start, end)
        else:
            _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-sha256",
                     "-days", "30", "-extfile", extensions, "-out", certificate)
        key.chmod(0o600)
        return certificate, key

    def _issue_dated(self, name, request, extensions, certificate, start, end):
        # x509 -req knows no start date; the small CA of openssl does.
        home = self.directory / f"{name}.ca"
        home.mkdir()
        (home / "index.txt").touch()
        (home / "serial").write_text("01\n")
        config = home / "ca.cnf"
        config.write_text(f"[ca]\ndefault_ca=own\n[own]\ndatabase={home}/index.txt\nserial={home}/serial\nnew_certs_dir={home}\n"
                          "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n")
        _openssl("ca", "-batch", "-config", config, "-in", request, "-cert", self.ca, "-keyfile", self.key, "-notext",
                 "-extfile", extensions, "-out", certificate,
                 "-startdate", start or "20200101000000Z", "-enddate", end or "20491231235959Z")
