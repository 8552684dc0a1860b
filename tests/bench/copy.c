// A plain copy: reads files and sends them, over as many connections as asked for, as SMTP with BDAT and
// without ever waiting for a reply in between. What a delivery agent's bytes a second are measured against.
//
//   copy PORT CONNECTIONS DIRECTORY
//
// One process a connection; each takes every CONNECTIONSth file of the directory. No TLS. Exit code 0 where
// all was sent.
#include "tool.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE (256 * 1024)

static void put(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        data += n;
        length -= (size_t)n;
    }
}

static void send_file(int to, int in, const char *name)
{
    static char piece[PIECE];
    struct stat stat;
    int fd = openat(in, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat))
        die(name);
    int n = snprintf(piece, sizeof piece,
        "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT %jd LAST\r\n", (intmax_t)stat.st_size);
    put(to, piece, (size_t)n);
    for (ssize_t got; (got = read(fd, piece, sizeof piece)) != 0;) {
        if (got < 0)
            die(name);
        put(to, piece, (size_t)got);
    }
    close(fd);
}

static int copy(unsigned port, unsigned mine, unsigned connections, const char *path)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((in_port_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die("connect");
    DIR *directory = opendir(path);
    if (!directory)
        die(path);
    unsigned i = 0;
    put(fd, "EHLO copy\r\n", 11);
    for (const struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && i++ % connections == mine)
            send_file(fd, dirfd(directory), entry->d_name);
    closedir(directory);
    put(fd, "QUIT\r\n", 6);
    char replies[4096];
    while (read(fd, replies, sizeof replies) > 0)
        continue; // until the server has taken all and said goodbye
    return 0;
}

int main(int argc, char **argv)
{
    unsigned port = argc == 4 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    unsigned connections = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (!port || port > 65535 || !connections || connections > 1000) {
        fprintf(stderr, "usage: copy PORT CONNECTIONS DIRECTORY\n");
        return 64;
    }
    for (unsigned i = 1; i < connections; i++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (child == 0)
            return copy(port, i, connections, argv[3]);
    }
    int status = 0, bad = copy(port, 0, connections, argv[3]);
    while (wait(&status) > 0)
        bad |= status;
    return bad ? 1 : 0;
}
