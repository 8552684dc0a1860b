# shellcheck shell=bash
# Completion of outtray(8) for bash; `outtray complete` knows the words.
# Goes to /usr/share/bash-completion/completions/outtray.

_outtray() {
    local line files=no word
    COMPREPLY=()
    while IFS= read -r line; do
        if [ "$line" = :files ]; then
            files=yes
            continue
        fi
        printf -v word '%q' "${line%%$'\t'*}"
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ "$files" = yes ]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}")
    fi
    if [ "${#COMPREPLY[@]}" -eq 1 ] && [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -F _outtray outtray
