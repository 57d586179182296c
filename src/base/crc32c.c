/* SPDX-License-Identifier: Apache-2.0
 * crc32c.c - CRC32C by instruction or by table.
 *
 * The instruction has a latency of three cycles and a throughput of one, so long inputs are cut in
 * three lanes that run side by side; their ends are joined by moving a CRC over LANE zero bytes,
 * which is linear and therefore a table (Mark Adler's construction, as in the zlib FAQ). Tables
 * are made once, before main. Thread: any; constant after start. */
#include "base/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

enum { LANE = 1024, ROUND = 3 * LANE };

static const uint32_t polynomial = 0x82F63B78U; /* reflected */

static uint32_t bytes_table[8][256]; /* slicing by eight */
static uint32_t lane_table[4][256];  /* a CRC moved over LANE zero bytes, by byte of the CRC */

typedef uint32_t crc_form(uint32_t state, const unsigned char *p, size_t bytes);

static uint32_t by_table(uint32_t state, const unsigned char *p, size_t bytes)
{
    while (bytes >= 8) {
        uint64_t w = 0;

        for (int i = 7; i >= 0; i--)
            w = w << 8 | p[i];
        w ^= state;
        state = 0;
        for (int i = 0; i < 8; i++)
            state ^= bytes_table[7 - i][w >> 8 * i & 255];
        p += 8;
        bytes -= 8;
    }
    while (bytes-- > 0)
        state = bytes_table[0][(state ^ *p++) & 255] ^ state >> 8;
    return state;
}

#if defined(__x86_64__) || defined(__aarch64__)
static uint32_t over_lane(uint32_t state)
{
    return lane_table[0][state & 255] ^ lane_table[1][state >> 8 & 255] ^
           lane_table[2][state >> 16 & 255] ^ lane_table[3][state >> 24];
}
#endif

#if defined(__x86_64__)
#define STEP_8(state, word) (uint32_t) _mm_crc32_u64(state, word)
#define STEP_1(state, byte) _mm_crc32_u8(state, byte)
#define FORM_TARGET         "sse4.2"
#define FORM_NAME           "sse4.2"
static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#define STEP_8(state, word) __crc32cd(state, word)
#define STEP_1(state, byte) __crc32cb(state, byte)
#define FORM_TARGET         "+crc"
#define FORM_NAME           "armv8"
static bool has_instruction(void)
{
    return (getauxval(AT_HWCAP) & 1U << 7) != 0; /* HWCAP_CRC32 */
}
#endif

#ifdef FORM_NAME
static inline uint64_t word_at(const unsigned char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof w);
    return w;
}

__attribute__((target(FORM_TARGET))) static uint32_t
by_instruction(uint32_t state, const unsigned char *p, size_t bytes)
{
    while (bytes >= ROUND) {
        uint32_t b = 0, c = 0;

        for (int i = 0; i < LANE; i += 8) {
            state = STEP_8(state, word_at(p + i));
            b = STEP_8(b, word_at(p + LANE + i));
            c = STEP_8(c, word_at(p + LANE + LANE + i));
        }
        state = over_lane(over_lane(state) ^ b) ^ c;
        p += ROUND;
        bytes -= ROUND;
    }
    while (bytes >= 8) {
        state = STEP_8(state, word_at(p));
        p += 8;
        bytes -= 8;
    }
    while (bytes-- > 0)
        state = STEP_1(state, *p++);
    return state;
}
#endif

static crc_form *fastest = by_table;

__attribute__((constructor)) static void make_tables(void)
{
    static const unsigned char zeros[LANE];

    for (uint32_t i = 0; i < 256; i++) {
        uint32_t state = i;

        for (int bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? polynomial : 0);
        bytes_table[0][i] = state;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            bytes_table[k][i] =
                bytes_table[k - 1][i] >> 8 ^ bytes_table[0][bytes_table[k - 1][i] & 255];
    for (int k = 0; k < 4; k++)
        for (uint32_t i = 0; i < 256; i++)
            lane_table[k][i] = by_table(i << 8 * k, zeros, LANE);
#ifdef FORM_NAME
    if (has_instruction())
        fastest = by_instruction;
#endif
}

uint32_t qn_crc32c(uint32_t crc, const void *p, size_t bytes)
{
    return ~fastest(~crc, p, bytes);
}

bool qn_crc32c_by(const char *form, uint32_t crc, const void *p, size_t bytes, uint32_t *out)
{
    if (strcmp(form, "table") == 0) {
        *out = ~by_table(~crc, p, bytes);
        return true;
    }
#ifdef FORM_NAME
    if (strcmp(form, FORM_NAME) == 0 && has_instruction()) {
        *out = ~by_instruction(~crc, p, bytes);
        return true;
    }
#endif
    return false;
}
