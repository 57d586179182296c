/* SPDX-License-Identifier: Apache-2.0
 * bench_http.c - a load that does not wait for its answers: requests at a given rate over kept
 * connections, and how long each took.
 *
 *   bench_http PORT PATH EVENTS RATE BATCH SECONDS [CONNECTIONS [FIRST]]
 *
 * EVENTS: NDJSON, from line FIRST on, BATCH events a request; RATE: requests a second. Request k is
 * due at k / RATE; where no connection is free it waits, and its latency counts from when it was
 * due, so a server that stalls cannot hide it by slowing its client down. One JSON object on
 * stdout; what was not answered WAIT_S after the end is `lost`. One thread, epoll. Not a test: it
 * only prints. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, ANSWER_MAX = 4 << 20, WAIT_S = 3 };

struct connection {
    int fd;
    bool is_busy;
    int64_t due_ns;
    char head[512];
    struct iovec out[2];
    char *answer;     /* header, and of the body what fits */
    size_t got, want; /* want: all of the answer; 0 = not known yet */
};

static struct {
    struct connection list[CONNECTIONS_MAX];
    struct connection *free[CONNECTIONS_MAX];
    unsigned count, free_count;
    int epoll;
    const char *path;
    const char *events, *at, *end;
    uint32_t batch;
    uint64_t sent, done, other; /* other: not 200 */
    uint32_t *latency_us;
    int first_other; /* its status */
} load;

static void die(const char *what)
{
    fprintf(stderr, "bench_http: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void map_events(const char *path, uint64_t first)
{
    int fd = open(path, O_RDONLY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        die(path);
    load.events = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (load.events == MAP_FAILED)
        die(path);
    load.at = load.events;
    load.end = load.events + st.st_size;
    for (; first > 0 && load.at < load.end; first--)
        load.at = (const char *)memchr(load.at, '\n', (size_t)(load.end - load.at)) + 1;
}

/* The next BATCH lines; from the start again at the end. */
static struct iovec next_body(void)
{
    const char *begin, *p;

    for (;;) {
        uint32_t n = 0;

        begin = p = load.at;
        while (n < load.batch && p < load.end) {
            p = (const char *)memchr(p, '\n', (size_t)(load.end - p)) + 1;
            n++;
        }
        if (n == load.batch)
            break;
        load.at = load.events;
    }
    load.at = p;
    return (struct iovec){(void *)(uintptr_t)begin, (size_t)(p - begin)};
}

static void watch(struct connection *c, uint32_t what)
{
    struct epoll_event e = {.events = what, .data.ptr = c};

    if (epoll_ctl(load.epoll, EPOLL_CTL_MOD, c->fd, &e) != 0)
        die("epoll_ctl");
}

static void connect_all(uint16_t port, unsigned count)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    load.epoll = epoll_create1(0);
    load.count = count;
    for (unsigned i = 0; i < count; i++) {
        struct connection *c = &load.list[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        int one = 1;

        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        c->answer = malloc(ANSWER_MAX);
        if (c->fd < 0 || c->answer == NULL ||
            connect(c->fd, (const struct sockaddr *)&to, sizeof to) != 0)
            die("cannot connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
            die("epoll_ctl");
        load.free[load.free_count++] = c;
    }
}

static void go_on_sending(struct connection *c)
{
    while (c->out[0].iov_len + c->out[1].iov_len > 0) {
        ssize_t n = writev(c->fd, c->out, 2);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0)
            die("cannot send");
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)n < c->out[i].iov_len ? (size_t)n : c->out[i].iov_len;

            c->out[i].iov_base = (char *)c->out[i].iov_base + part;
            c->out[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
}

static void begin(int64_t due_ns)
{
    struct connection *c = load.free[--load.free_count];
    int n;

    c->out[1] = next_body();
    n = snprintf(c->head, sizeof c->head,
                 "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 load.path, c->out[1].iov_len);
    c->out[0] = (struct iovec){c->head, (size_t)n};
    c->due_ns = due_ns;
    c->is_busy = true;
    c->got = c->want = 0;
    load.sent++;
    go_on_sending(c);
}

/* Once the answer's header is there. */
static void read_head(struct connection *c)
{
    const char *end, *length;
    int status;

    c->answer[c->got] = '\0';
    end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL)
        return;
    status = atoi(c->answer + sizeof "HTTP/1.1");
    length = strcasestr(c->answer, "\r\ncontent-length:");
    if (length == NULL || length > end)
        die("an answer without Content-Length");
    c->want = (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
    if (status != 200) {
        load.other++;
        load.first_other = load.first_other > 0 ? load.first_other : status;
    }
}

static void receive(struct connection *c)
{
    for (;;) {
        ssize_t n = read(c->fd, c->answer + c->got, ANSWER_MAX - 1 - c->got);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            die("the server closed the connection");
        c->got += (size_t)n;
        if (c->want == 0)
            read_head(c);
        if (c->want > 0 && c->got >= c->want)
            break;
    }
    load.latency_us[load.done++] = (uint32_t)((now_ns() - c->due_ns) / 1000);
    c->is_busy = false;
    load.free[load.free_count++] = c;
}

static void wait_until(int64_t until_ns)
{
    struct epoll_event list[256];
    int64_t left = until_ns - now_ns();
    struct timespec t = {.tv_sec = left > 0 ? left / 1000000000 : 0,
                         .tv_nsec = left > 0 ? left % 1000000000 : 0};
    int n = epoll_pwait2(load.epoll, list, 256, &t, NULL);

    for (int i = 0; i < n; i++) {
        struct connection *c = list[i].data.ptr;

        if (list[i].events & EPOLLOUT) {
            watch(c, EPOLLIN);
            go_on_sending(c);
        }
        if (list[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->is_busy)
            receive(c);
    }
}

static void run(double rate, double seconds)
{
    const int64_t start = now_ns();
    const uint64_t total = (uint64_t)(rate * seconds);
    const int64_t last = start + (int64_t)((seconds + WAIT_S) * 1e9);

    while (load.done < total && now_ns() < last) {
        int64_t due = start + (int64_t)((double)load.sent / rate * 1e9);

        while (load.sent < total && load.free_count > 0 && due <= now_ns()) {
            begin(due);
            due = start + (int64_t)((double)load.sent / rate * 1e9);
        }
        wait_until(load.sent < total && load.free_count > 0 && due < last ? due : last);
    }
    printf("{\"rate\":%.0f,\"batch\":%u,\"asked\":%llu,\"done\":%llu,\"lost\":%llu,"
           "\"other\":%llu,\"status\":%d,\"seconds\":%.3f",
           rate, load.batch, (unsigned long long)total, (unsigned long long)load.done,
           (unsigned long long)(total - load.done), (unsigned long long)load.other,
           load.first_other, (double)(now_ns() - start) / 1e9);
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999, 1};
    double rate, seconds;
    int connections;

    if (argc < 7) {
        fprintf(stderr, "usage: bench_http PORT PATH EVENTS RATE BATCH SECONDS [CONNECTIONS "
                        "[FIRST]]\n");
        return 2;
    }
    load.path = argv[2];
    rate = atof(argv[4]);
    load.batch = (uint32_t)atoi(argv[5]);
    seconds = atof(argv[6]);
    connections = argc > 7 ? atoi(argv[7]) : 64;
    if (rate <= 0 || load.batch == 0 || connections < 1 || connections > CONNECTIONS_MAX)
        die("a number that cannot be");
    load.latency_us = calloc((size_t)(rate * seconds) + 1, sizeof *load.latency_us);
    if (load.latency_us == NULL)
        die("out of memory");
    map_events(argv[3], argc > 8 ? (uint64_t)atoll(argv[8]) : 0);
    connect_all((uint16_t)atoi(argv[1]), (unsigned)connections);
    run(rate, seconds);
    qsort(load.latency_us, load.done, sizeof *load.latency_us, compare);
    printf(",\"ms\":[");
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        uint64_t at = (uint64_t)((double)load.done * quantiles[i]);

        at = at < load.done ? at : load.done > 0 ? load.done - 1 : 0;
        printf("%s%.3f", i > 0 ? "," : "", load.latency_us[at] / 1e3);
    }
    printf("]}\n");
    return 0;
}
