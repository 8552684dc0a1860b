// A disk that remembers: one file, DIRECTORY/disk, whose content is that of an image, and a log of every
// write and flush it was asked for, in their order.
//
//   disk IMAGE LOG DIRECTORY
//
// A FUSE file system (fuse(4), libfuse 3) in the foreground and on one thread, so that the order in the log
// is the order of the replies. IMAGE is changed as it goes. A record of LOG is a struct record, then `length`
// octets for a write. A flush covers all writes before it: that is what fsync(2) of the file under a loop
// device means, and how the block layer sends a FLUSH or a FUA write there.
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DISK "/disk"

struct record {
    uint32_t kind; // 'W' or 'F'
    uint32_t length;
    uint64_t offset;
    int64_t at; // CLOCK_MONOTONIC, ns: before the reply
};

static int image, journal; // the two files

static int log_record(uint32_t kind, uint64_t offset, const char *data, size_t length)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct record record = {kind, (uint32_t)length, offset, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec};
    if (write(journal, &record, sizeof record) != sizeof record)
        return -EIO;
    return length && write(journal, data, length) != (ssize_t)length ? -EIO : 0;
}

static int disk_getattr(const char *path, struct stat *stat, struct fuse_file_info *info)
{
    (void)info;
    memset(stat, 0, sizeof *stat);
    if (strcmp(path, "/") == 0) {
        stat->st_mode = S_IFDIR | 0700;
        stat->st_nlink = 2;
        return 0;
    }
    if (strcmp(path, DISK) != 0)
        return -ENOENT;
    struct stat of_image;
    if (fstat(image, &of_image))
        return -errno;
    stat->st_mode = S_IFREG | 0600;
    stat->st_nlink = 1;
    stat->st_size = of_image.st_size;
    stat->st_blocks = of_image.st_size / 512;
    return 0;
}

static int disk_open(const char *path, struct fuse_file_info *info)
{
    if (strcmp(path, DISK) != 0)
        return -ENOENT;
    info->direct_io = 1; // every write comes here at once, in its order
    return 0;
}

static int disk_read(const char *path, char *to, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)path;
    (void)info;
    ssize_t n = pread(image, to, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int disk_write(
    const char *path, const char *from, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)path;
    (void)info;
    int error = log_record('W', (uint64_t)offset, from, size);
    if (error)
        return error;
    ssize_t n = pwrite(image, from, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int disk_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
    (void)path;
    (void)data_only;
    (void)info;
    return log_record('F', 0, NULL, 0);
}

static const struct fuse_operations operations = {
    .getattr = disk_getattr, .open = disk_open, .read = disk_read, .write = disk_write, .fsync = disk_fsync};

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "disk: see the first lines of tests/crash/disk.c\n");
        return 64;
    }
    image = open(argv[1], O_RDWR | O_CLOEXEC);
    journal = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (image < 0 || journal < 0) {
        perror("disk");
        return 1;
    }
    char foreground[] = "-f", one_thread[] = "-s";
    char *options[] = {argv[0], foreground, one_thread, argv[3], NULL};
    return fuse_main(4, options, &operations, NULL);
}
