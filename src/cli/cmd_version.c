/* SPDX-License-Identifier: Apache-2.0
 * cmd_version.c - `quern version`: what this binary is and what it stands on, as loaded.
 *
 * Thread: main. */
#include "cli/commands.h"
#include "event/decode.h"
#include "log/kafka_target.h"
#include "log/log_file.h"

#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

static const struct qn_option options[] = {{.name = NULL}};

const struct qn_command_usage qn_usage_version = {
    .name = "version",
    .summary = "version, libraries as loaded, vector instructions in use",
    .positional = "",
    .options = options,
    .examples = {"quern version"},
};

int qn_cmd_version(struct qn_cli *c, int argc, char **argv)
{
    struct qn_option_list rest;
    struct qn_buf b = {0};
    char none;
    int code;

    if (!qn_cli_options(c, &qn_usage_version, argc, argv, &none, &rest, &code))
        return code;
    qn_buf_printf(&b, "quern %s\n", QN_VERSION);
    qn_buf_printf(&b, "libraries  libyaml %s, zlib %s, zstd %s", yaml_get_version_string(),
                  zlibVersion(), ZSTD_versionString());
    if (qn_kafka_version() != NULL)
        qn_buf_printf(&b, ", librdkafka %s\n", qn_kafka_version());
    else
        qn_buf_text(&b, "; without librdkafka, so without Kafka\n");
    qn_buf_printf(&b, "decoder    %s\n", qn_decode_name());
    code = qn_cli_write(c, b.data, b.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
    qn_buf_fini(&b);
    return code;
}
