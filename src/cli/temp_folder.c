/* SPDX-License-Identifier: Apache-2.0
 * temp_folder.c - a folder of one's own for the time of a command.
 *
 * Thread: main. Memory: the heap, freed before return. */
#include "cli/temp_folder.h"

#include <errno.h>
#include <inttypes.h>

enum { TRIES = 16, LEVELS = 3 };

qn_status qn_temp_folder_make(struct qn_cli *c, const char *name, struct qn_buf *path,
                              struct qn_err *err)
{
    const char *under = qn_cli_variable(c, "TMPDIR");
    int rc = -EEXIST;

    if (under == NULL || *under == '\0')
        under = "/tmp";
    for (unsigned i = 0; i < TRIES && rc == -EEXIST; i++) {
        uint64_t number;

        qn_random_system.fill(qn_random_system.st, &number, sizeof(number));
        qn_buf_clear(path);
        qn_buf_printf(path, "%s/%s-%08" PRIx64, under, name, number & 0xFFFFFFFF);
        qn_buf_byte(path, '\0');
        if (path->failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for the name of a folder");
        rc = c->files->make_folder(c->files->st, path->data);
    }
    return rc < 0 ? qn_err_sys(err, -rc, "cannot make the folder '%s'", path->data) : QN_OK;
}

/* Appends "folder/name" of each entry, each NUL-terminated. */
struct listing {
    const char *folder;
    struct qn_buf paths;
};

static void add_path(void *arg, const char *name)
{
    struct listing *l = arg;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    qn_buf_printf(&l->paths, "%s/%s", l->folder, name);
    qn_buf_byte(&l->paths, '\0');
}

/* Calls itself for the folders in it, `levels` deep at most. False: something stays. */
static bool remove_tree(const struct qn_files *fs, const char *path, unsigned levels)
{
    struct listing l = {.folder = path};
    bool good = fs->list_folder(fs->st, path, add_path, &l) >= 0 && !l.paths.failed;

    for (size_t at = 0; good && at < l.paths.len; at += strlen(l.paths.data + at) + 1) {
        const char *inner = l.paths.data + at;
        int rc = fs->remove(fs->st, inner);

        if ((rc == -EISDIR || rc == -EPERM) && levels > 1)
            good = remove_tree(fs, inner, levels - 1);
        else
            good = rc >= 0;
    }
    qn_buf_fini(&l.paths);
    return good && fs->remove_folder(fs->st, path) >= 0;
}

void qn_temp_folder_remove(struct qn_cli *c, const char *path)
{
    if (!remove_tree(c->files, path, LEVELS))
        qn_cli_say(c, "quern: cannot remove all of the folder '%s'; please remove it", path);
}
