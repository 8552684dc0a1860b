// The functions of the verbs, one file each, for the table in verbs.c.
#ifndef OUTTRAY_AGENT_CLI_VERBS_H
#define OUTTRAY_AGENT_CLI_VERBS_H

int cli_run(int argc, char **argv);
int cli_init(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_queue(int argc, char **argv);
int cli_submit(int argc, char **argv);
int cli_explain(int argc, char **argv);
int cli_oauth(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_import(int argc, char **argv);
int cli_show(int argc, char **argv);
int cli_retry(int argc, char **argv);
int cli_hold(int argc, char **argv);
int cli_release(int argc, char **argv);
int cli_drop(int argc, char **argv);
int cli_pause(int argc, char **argv);
int cli_resume(int argc, char **argv);
int cli_flush(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_log(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_complete(int argc, char **argv);
int cli_test(int argc, char **argv);

// The whole command line: picks the verb. What main does.
int cli_main(int argc, char **argv);
// Prints "outtray VERSION"; returns the exit code.
int cli_print_version(void);

#endif
