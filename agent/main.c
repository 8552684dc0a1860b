// The entry of the program: everything, the verb table too, lives where a test can link it.
#include "agent/cli/verbs.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
