# Completion of outtray(8) for fish; `outtray complete` knows the words.
# Goes to /usr/share/fish/vendor_completions.d/outtray.fish.

function __outtray_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l files no
    for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c outtray -f -a '(__outtray_complete)'
