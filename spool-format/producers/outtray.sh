# shellcheck shell=sh
# Puts mail into an outtray spool (SPOOL.md) from a POSIX shell. Needs cat, ln, rm and sync of coreutils 8.24 or
# later. Copy this file, or source it where it lies. License: Apache-2.0.
#
# outtray_submit DIRECTORY [NAME] <message
#     DIRECTORY is the tenant's, such as /var/spool/outtray/acme. Without NAME one is made and printed. Status 0:
#     the message is on the disk and will not be lost. Anything else: it was not accepted, the reason is on standard
#     error and nothing is left behind; only where new/ cannot be synced may it go out all the same.
#
# Usage:
#   . ./outtray.sh
#   outtray_submit "$1" "$2"

# A name as maildir has them: time, process, random number, host.
outtray_name() {
    printf '%s.P%sR%s.%s\n' "$(date +%s)" "$$" "$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')" "$(uname -n | tr '/:~ ' '____')"
}

# Which names a message may have.
outtray_name_is_valid() (
    LC_ALL=C
    case $1 in
    '' | .* | */* | *.status | *[[:cntrl:]]*) exit 1 ;;
    esac
    [ "${#1}" -le 200 ]
)

outtray_submit() ( # in a subshell: traps, the mask and the directory of the caller stay as they are
    set -C         # no redirection overwrites a file
    umask 027
    CDPATH='' cd -- "$1" || exit 1
    name=${2-$(outtray_name)}
    if ! outtray_name_is_valid "$name"; then
        printf 'outtray_submit: a message cannot have this name: %s\n' "$name" >&2
        exit 1
    fi
    for place in tmp new; do
        if [ ! -d "$place" ]; then
            printf 'outtray_submit: %s/%s is missing\n' "$1" "$place" >&2
            exit 1
        fi
    done
    : >"tmp/$name" || exit 1 # ours from here on
    trap 'rm -f -- "tmp/$name"' EXIT
    trap 'exit 1' HUP INT TERM
    cat >>"tmp/$name" || exit 1                # fails where a write or the close does
    sync -- "tmp/$name" || exit 1              # fsync
    ln -T -- "tmp/$name" "new/$name" || exit 1 # fails where the name is taken
    sync -- new || exit 1                      # accepted
    [ "$#" -gt 1 ] || printf '%s\n' "$name"
)
