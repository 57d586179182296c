/* SPDX-License-Identifier: Apache-2.0
 * replay.c - main() of a fuzz target in an ordinary build: runs it over every file of its corpus.
 *
 * What fuzzing once found, ./dev check keeps finding. Linked with one tests/fuzz/fuzz_<name>.c; the
 * argument is tests/fuzz/corpus/<name> (or single files, to reproduce a crash). An empty folder is
 * a failure: a corpus that nobody replays is no test. Thread: main. Memory: one file at a time, in
 * a block of exactly its size, so that AddressSanitizer sees a read past the end. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feeds one file to the target. 0, or 1 when the file cannot be read. */
static int replay_file(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    size_t size;

    if (f == NULL || fstat(fileno(f), &st) != 0) {
        fprintf(stderr, "replay: cannot open %s\n", path);
        if (f != NULL)
            fclose(f);
        return 1;
    }
    size = (size_t)st.st_size;
    data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, f) != size) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        free(data);
        fclose(f);
        return 1;
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int replay_by_name(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* Feeds every file of a folder, in the order of their names; *count grows. */
static int replay_folder(const char *path, unsigned *count)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, replay_by_name, alphasort);
    int failed = n < 0;
    char file[4096];

    if (n < 0)
        fprintf(stderr, "replay: cannot list %s\n", path);
    for (int i = 0; i < n; i++) {
        int len = snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);

        if (len < 0 || (size_t)len >= sizeof file)
            failed = 1;
        else
            failed |= replay_file(file);
        free(list[i]);
        (*count)++;
    }
    free(list);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && !S_ISDIR(st.st_mode)) {
            failed |= replay_file(argv[i]);
            count++;
        } else {
            failed |= replay_folder(argv[i], &count);
        }
    }
    printf("replayed %u inputs\n", count);
    if (count == 0)
        fprintf(stderr, "replay: the corpus is empty\n");
    return failed || count == 0;
}
