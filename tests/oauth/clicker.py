"""A person at a browser, without the browser: opens a page, fills in its form, sends it, until another host is asked for."""

import html.parser
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request

PAGES_MAX = 20


class _Forms(html.parser.HTMLParser):
    """Forms of a page: (method, action, {name: value})."""

    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.forms.append((attributes.get("method", "get").lower(), attributes.get("action", ""), {}))
        elif tag in ("input", "button") and self.forms and attributes.get("name"):
            self.forms[-1][2][attributes["name"]] = attributes.get("value") or ""


class _Stop(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


class Clicker:
    """answers: what the person types, by the names of the fields."""

    def __init__(self, **answers):
        self.answers = answers
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), _Stop(), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def _get(self, url, data=None):
        """(text, None) of a page, or ("", where it redirects to)."""
        try:
            with self.opener.open(url, data, timeout=20) as page:
                return page.read().decode(), None
        except urllib.error.HTTPError as answer:
            if answer.code not in (301, 302, 303, 307):
                raise AssertionError(f"{url}: HTTP {answer.code}: {answer.read()[:2000]}") from None
            return "", urllib.parse.urljoin(url, answer.headers["Location"])

    def walk(self, url, until=None):
        """Clicks until it is sent to another host and port (and returns that URL, unopened), or until a page holds `until`
        (and returns its text)."""
        home = urllib.parse.urlsplit(url).netloc
        data = None
        for _ in range(PAGES_MAX):
            if urllib.parse.urlsplit(url).netloc != home:
                return url
            text, target = self._get(url, data)
            data = None
            if target is not None:
                url = target
                continue
            if until and until in text:
                return text
            forms = _Forms()
            forms.feed(text)
            usable = [form for form in forms.forms if not form[1].endswith("/abort")]
            assert usable, f"a page without a form at {url}: {text[:2000]}"
            method, action, fields = usable[0]
            fields.pop("abort", None)
            fields = {name: self.answers.get(name, value) for name, value in fields.items()}
            url, encoded = urllib.parse.urljoin(url, action), urllib.parse.urlencode(fields)
            if method == "post":
                data = encoded.encode()
            else:
                url += "?" + encoded
        raise AssertionError(f"more than {PAGES_MAX} pages, the last at {url}")
