"""What it takes to run Debian's Postfix and OpenSMTPD in a private root (private_root.py), whatever they are set up for.

Texts to be put in front of one's own: configuration that every use has, and the parts of the script that makes the root
theirs. Configuration is found in /shared.
"""

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /shared/postfix.log
maillog_file_prefixes = /shared
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
smtpd_peername_lookup = no
"""

# Of master.cf: what every Postfix needs beside its way in and its way out.
POSTFIX_SERVICES = """
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

# main.cf and master.cf lie in /shared; /var/spool/postfix is what it shall be.
POSTFIX_SET_UP = """
echo 'postfix:x:990:990::/var/spool/postfix:/usr/sbin/nologin' >> /etc/passwd
printf 'postfix:x:990:\\npostdrop:x:993:\\n' >> /etc/group
mkdir -p /etc/postfix /var/lib/postfix
cp /shared/main.cf /shared/master.cf /etc/postfix/
cp /usr/share/postfix/postfix-files /etc/postfix/ 2>/dev/null || :
chown postfix /var/lib/postfix
postfix -c /etc/postfix set-permissions >/dev/null 2>&1 || :
postfix check
"""
POSTFIX_RUN = "/usr/lib/postfix/sbin/master -c /etc/postfix -d"

OPENSMTPD_SET_UP = """
echo 'opensmtpd:x:990:990::/var/lib/opensmtpd/empty:/usr/sbin/nologin
opensmtpq:x:991:991::/var/lib/opensmtpd/empty:/usr/sbin/nologin' >> /etc/passwd
printf 'opensmtpd:x:990:\\nopensmtpq:x:991:\\n' >> /etc/group
mkdir -p /var/lib/opensmtpd/empty
"""
OPENSMTPD_RUN = "/usr/sbin/smtpd -d -f /shared/smtpd.conf"
