/* SPDX-License-Identifier: Apache-2.0
 * fuzz_log_segment.c - opens any bytes as the last segment of a log, reads and verifies what opens.
 *
 * The first byte chooses: 0 = the bytes are the file as it is; 1 = every frame that can be walked
 * gets the checksums, LSN and log id it needs, so that what lies behind them is reached. Holds: no
 * crash; what opens reads without an error, verifies, opens again the same, and can be appended to.
 */
#include "log/log_format.h"

#include "base/check.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES = 8, FILE_BYTES = 256 * 1024, SEGMENT = 64 * 1024 };

/* A folder in memory. */
static struct {
    char name[64];
    char *bytes;
    size_t size, at;
} files[FILES];

static int find(const char *path)
{
    const char *slash = strrchr(path, '/');

    for (int i = 0; i < FILES; i++)
        if (files[i].name[0] != '\0' && strcmp(files[i].name, slash + 1) == 0)
            return i;
    return -1;
}

static int make(const char *path)
{
    int i = 0;

    while (i < FILES && files[i].name[0] != '\0')
        i++;
    QN_ASSERT(i < FILES);
    strncpy(files[i].name, strrchr(path, '/') + 1, sizeof files[i].name - 1);
    if (files[i].bytes == NULL)
        files[i].bytes = malloc(FILE_BYTES);
    memset(files[i].bytes, 0, FILE_BYTES);
    files[i].size = 0;
    return i;
}

static int f_open(void *st, const char *path, enum qn_open how)
{
    int i = find(path);

    if (i < 0 && how != QN_OPEN_CREATE && how != QN_OPEN_REPLACE)
        return -ENOENT;
    if (i < 0)
        i = make(path);
    files[i].at = 0;
    return i;
}

static int64_t f_pread(void *st, int fd, void *p, size_t n, uint64_t offset)
{
    if (offset >= files[fd].size)
        return 0;
    if (n > files[fd].size - offset)
        n = files[fd].size - offset;
    memcpy(p, files[fd].bytes + offset, n);
    return (int64_t)n;
}

static int64_t f_read(void *st, int fd, void *p, size_t n)
{
    int64_t got = f_pread(st, fd, p, n, files[fd].at);

    files[fd].at += (size_t)got;
    return got;
}

static int64_t f_pwritev(void *st, int fd, const struct qn_piece *v, unsigned count,
                         uint64_t offset)
{
    int64_t n = 0;

    for (unsigned i = 0; i < count; i++) {
        if (offset + v[i].bytes > FILE_BYTES)
            return -ENOSPC;
        memcpy(files[fd].bytes + offset, v[i].p, v[i].bytes);
        offset += v[i].bytes;
        n += (int64_t)v[i].bytes;
    }
    if (offset > files[fd].size)
        files[fd].size = offset;
    return n;
}

static int64_t f_write(void *st, int fd, const void *p, size_t n)
{
    struct qn_piece v = {p, n};

    return f_pwritev(st, fd, &v, 1, files[fd].size);
}

static int f_zero(void *st, int fd)
{
    return 0;
}

static int f_rename(void *st, const char *from, const char *to)
{
    int i = find(from), k = find(to);

    if (i < 0)
        return -ENOENT;
    if (k >= 0)
        files[k].name[0] = '\0';
    strncpy(files[i].name, strrchr(to, '/') + 1, sizeof files[i].name - 1);
    return 0;
}

static int f_remove(void *st, const char *path)
{
    int i = find(path);

    if (i < 0)
        return -ENOENT;
    files[i].name[0] = '\0';
    return 0;
}

static int64_t f_size(void *st, int fd)
{
    return (int64_t)files[fd].size;
}

static int f_set(void *st, int fd, uint64_t bytes)
{
    if (bytes > FILE_BYTES)
        return -ENOSPC;
    files[fd].size = bytes;
    return 0;
}

static int f_folder(void *st, const char *path)
{
    return 0;
}

static int f_list(void *st, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].name[0] != '\0')
            each(arg, files[i].name);
    return 0;
}

static int f_durable(void *st, const char *path, const char **kind)
{
    *kind = "disk";
    return 1;
}

static const struct qn_files table = {.open = f_open,
                                      .read = f_read,
                                      .write = f_write,
                                      .sync = f_zero,
                                      .close = f_zero,
                                      .rename = f_rename,
                                      .remove = f_remove,
                                      .size = f_size,
                                      .pread = f_pread,
                                      .pwritev = f_pwritev,
                                      .allocate = f_set,
                                      .truncate = f_set,
                                      .sync_folder = f_folder,
                                      .make_folder = f_folder,
                                      .list_folder = f_list,
                                      .lock = f_zero,
                                      .is_durable = f_durable};

/* Makes headers and checksums right as far as frames can be walked, so that their bodies are read.
 */
static void mend(char *p, size_t size)
{
    const struct qn_log_segment_header h = {.id = {{7, 8}}, .first_lsn = 0, .size = SEGMENT};
    uint32_t prev = 0;

    qn_log_segment_header_write(&h, p);
    for (size_t at = QN_LOG_SECTOR; at + QN_LOG_FRAME_HEADER <= size;) {
        uint32_t length = qn_little_get32(p + at + 8);

        if (qn_little_get32(p + at) != QN_LOG_MAGIC_FRAME || length < QN_LOG_FRAME_HEADER ||
            length > size - at)
            break;
        qn_little_put64(p + at + 16, at);
        qn_little_put64(p + at + 24, 7);
        qn_little_put32(p + at + 32, prev);
        prev = qn_log_frame_seal(p + at, length);
        at += (size_t)qn_log_padded(length);
    }
}

static void found(void *arg, const struct qn_err *err)
{
    ++*(unsigned *)arg;
}

/* Reads everything; the number of records, commits counted. */
static uint64_t read_all(struct qn_log *lg)
{
    const struct qn_log_selection what = {.commits = true};
    struct qn_log_record out[16];
    struct qn_log_reader *r;
    enum qn_flow flow;
    uint64_t total = 0;
    uint32_t n;

    QN_ASSERT(qn_log_reader_new(lg, &what, &r, NULL) == QN_OK);
    do {
        QN_ASSERT(qn_log_reader_next(r, out, 16, &n, &flow, NULL) == QN_OK);
        total += n;
        qn_log_reader_release(r);
    } while (flow == QN_MORE);
    qn_log_reader_free(r);
    return total;
}

static void open_it(void)
{
    struct qn_log_options opt = {.files = &table, .segment_bytes = SEGMENT, .is_threadless = true};
    const struct qn_log_record r = {.value = {"v", 1}};
    struct qn_log_append *a;
    struct qn_log_check check;
    uint64_t records = 0;
    unsigned findings = 0;
    struct qn_log *lg;

    for (int pass = 0; pass < 2; pass++) {
        uint32_t topic;
        uint64_t n;

        if (qn_log_open("d", &opt, &lg, NULL, NULL) != QN_OK) {
            QN_ASSERT(pass == 0);
            return;
        }
        n = read_all(lg);
        QN_ASSERT(pass == 0 || n == records);
        QN_ASSERT(qn_log_verify(lg, found, &findings, &check, NULL) == QN_OK);
        QN_ASSERT(findings == 0);
        if (qn_log_topic(lg, qn_str_of("fuzz"), true, &topic, NULL) == QN_OK &&
            qn_log_append_new(lg, &a, NULL) == QN_OK) {
            QN_ASSERT(qn_log_append_record(a, topic, QN_LOG_RECORDS, &r, NULL) == QN_OK);
            if (qn_log_commit(lg, a, NULL, NULL) == QN_OK)
                n++;
            qn_log_append_free(a);
        }
        records = n;
        (void)qn_log_close(lg, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int i;

    if (size < 1 || size > SEGMENT)
        return 0;
    for (i = 0; i < FILES; i++)
        files[i].name[0] = '\0';
    i = make("d/00000000000000000000.seg");
    memcpy(files[i].bytes, data + 1, size - 1);
    files[i].size = size - 1;
    if (data[0] & 1) {
        if (files[i].size < QN_LOG_SECTOR)
            files[i].size = QN_LOG_SECTOR;
        mend(files[i].bytes, files[i].size);
    }
    open_it();
    return 0;
}
