# Reads C files and says which include lines point up a floor, or out of a room that sees only itself.
#
# spool-format/ and config/ see only themselves. In agent/ a room sees spool-format/, config/ and the rooms on its own
# floor and below it. Exit status 1 where a line breaks this.
BEGIN {
    floor["base"] = 1
    floor["http"] = 2
    floor["auth"] = floor["smtp"] = 3
    floor["compose"] = floor["delivery"] = floor["observe"] = 4
    floor["cli"] = 5
}

function complain(why) {
    printf "%s:%d: includes %s: %s\n", FILENAME, FNR, included, why
    bad = 1
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    included = $0
    sub(/^[^"]*"/, "", included)
    sub(/".*/, "", included)
    n = split(FILENAME, here, "/")
    m = split(included, there, "/")
    if (m == 1)
        next # a header beside the file
    if (there[1] == "..")
        complain("name it from the top of the tree")
    else if (here[1] == "spool-format" || here[1] == "config") {
        if (there[1] != here[1])
            complain(here[1] "/ sees only itself")
    } else if (here[1] == "agent" && there[1] == "agent") {
        own = n == 2 ? floor["cli"] : floor[here[2]] # agent/main.c stands on the top floor
        if (m < 3 || !(there[2] in floor))
            complain("no room of that name is known")
        else if (floor[there[2]] > own)
            complain("floor " floor[there[2]] " is above floor " own)
    } else if (here[1] == "agent" && there[1] != "spool-format" && there[1] != "config")
        complain("the agent sees only spool-format/, config/ and itself")
}

END {
    exit bad
}
