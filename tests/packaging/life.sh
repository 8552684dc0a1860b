#!/bin/bash
# The life of the Debian packages, as root of a clean Debian root (scripts/packaging/test-deb brings it there).
#   life.sh VERSION; the packages are /shared/now/*.deb and /shared/next/*.deb
set -eu
version=$1
spool=/var/spool/outtray

step() {
    printf '== %s\n' "$*"
}

# A command that has to succeed, and one that has to fail.
must() {
    "$@" >/tmp/out 2>&1 || { printf 'failed (%s): %s\n' "$?" "$*"; cat /tmp/out; exit 1; }
}
must_not() {
    ! "$@" >/tmp/out 2>&1 || { printf 'succeeded: %s\n' "$*"; cat /tmp/out; exit 1; }
}
said() { # WORDS: in what the last command said
    grep -qF -- "$1" /tmp/out || { printf 'not said: %s\n' "$1"; cat /tmp/out; exit 1; }
}
owner() { # WHO:MODE PATH
    [ "$(stat -c '%U:%G:%a' "$2")" = "$1" ] || { stat "$2"; exit 1; }
}
installed() { # PACKAGE VERSION
    [ "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1")" = "installed $2" ] || { dpkg -l "$1"; exit 1; }
}
run_as() { # USER COMMAND…
    setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"
}

step "install"
must apt-get -q update
must apt-get -q -y install --no-install-recommends /shared/now/*.deb
installed outtray "$version"
installed outtray-mta "$version"
must dpkg -V outtray outtray-mta
[ "$(outtray --version)" = "outtray $version" ]
owner outtray:outtray:755 $spool
owner outtray:outtray:750 /var/lib/outtray
owner outtray:outtray:750 /var/log/outtray
[ "$(getent passwd outtray | cut -d: -f7)" = /usr/sbin/nologin ]
for link in /usr/sbin/sendmail /usr/lib/sendmail /usr/bin/mailq /usr/bin/newaliases; do
    [ "$(readlink -f $link)" = /usr/bin/outtray ]
done
[ -e /lib/systemd/system/outtray.service ] && [ -e /etc/logrotate.d/outtray ]
[ ! -e /etc/systemd/system/multi-user.target.wants/outtray.service ] # nothing is started that is not configured
must newaliases

step "the configuration as shipped says what to fill in"
must_not run_as outtray outtray check
said /etc/outtray/relay.password
grep -q 'systemctl enable --now outtray' /etc/outtray/outtray.yaml

step "fill it in and submit as a user"
sed -i -e 's/auth: basic/auth: none/' -e 's/server: mail.example.com.*/server: 127.0.0.1/' \
    -e 's|password_file: .*|encryption: none|' -e 's/# group: users .*/group: users/' /etc/outtray/outtray.yaml
must outtray init
must run_as outtray outtray check
must useradd -G users alice
must run_as alice sh -c "printf 'To: a@example.net\nSubject: one\n\ntext\n' | sendmail a@example.net"
said 'no agent'
[ "$(find $spool/main/new -type f | wc -l)" = 1 ]
must mailq
said main
must_not run_as nobody sh -c "printf 'To: a@example.net\n\ntext\n' | sendmail a@example.net"
run_as outtray timeout 60 outtray run --once >/tmp/out 2>&1 || [ "$?" = 1 ]
said 'event=account_paused'
message=$(find $spool/main/new -type f)
sum=$(sha256sum "$message")
config=$(sha256sum /etc/outtray/outtray.yaml)

step "it is the mail transport agent, and there is only one"
must apt-get -s install --no-install-recommends bsd-mailx
if grep -qE 'Inst (exim|postfix|nullmailer|msmtp)' /tmp/out; then
    exit 1
fi
must apt-get -s install --no-install-recommends nullmailer
said 'Remv outtray-mta'

step "upgrade: configuration, mail and user stay"
must apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends /shared/next/*.deb
installed outtray "$version+1"
installed outtray-mta "$version+1"
[ "$(sha256sum "$message")" = "$sum" ] && [ "$(sha256sum /etc/outtray/outtray.yaml)" = "$config" ]
must run_as outtray outtray check

step "remove: the program goes, the rest stays"
must apt-get -q -y remove outtray outtray-mta
[ ! -e /usr/bin/outtray ] && [ ! -e /usr/sbin/sendmail ] && [ -e /etc/outtray/outtray.yaml ] && [ -d /var/lib/outtray ]
[ "$(sha256sum "$message")" = "$sum" ]

step "purge with mail in the spool: the mail and its user stay"
printf 'secret\n' >/etc/outtray/relay.password
must apt-get -q -y purge outtray outtray-mta
said "there is mail in $spool"
said "files of yours"
[ "$(sha256sum "$message")" = "$sum" ] && [ ! -e /etc/outtray/outtray.yaml ] && [ ! -e /var/lib/outtray ]
[ -e /etc/outtray/relay.password ] && getent passwd outtray >/dev/null

step "install again: the mail is there and belongs to whom it did"
must apt-get -q -y install --no-install-recommends /shared/now/*.deb
installed outtray "$version"
[ "$(sha256sum "$message")" = "$sum" ]
owner outtray:outtray:755 $spool
must run_as outtray outtray queue
said main

step "purge without mail: nothing stays"
rm "$message" /etc/outtray/relay.password
must apt-get -q -y purge outtray outtray-mta
[ ! -e $spool ] && [ ! -e /etc/outtray ] && [ ! -e /var/lib/outtray ] && [ ! -e /var/log/outtray ]
must_not getent passwd outtray
must_not getent group outtray
left=$(find / -xdev -name '*outtray*' ! -path '/shared/*' ! -path '/proc/*' ! -path '/tmp/*' ! -path '/var/lib/apt/*')
[ -z "$left" ] || { printf 'left behind:\n%s\n' "$left"; exit 1; }
step "done"
