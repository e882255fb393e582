/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing bytes: see diff.h. memcmp finds the block, words find the byte.
 */
#include "diff.h"

#include <string.h>

/* Of the order of the first-level cache: what memcmp says "differs" about is
   looked at again. */
#define BLOCK_LEN 16384u
#define WORD_LEN 8u

bool chain_diff_is_zero(const uint8_t *p, size_t len)
{
    if (len == 0) {
        return true;
    }
    /* All bytes equal their neighbour, and the first is zero. */
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static bool is_block_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (!a) {
        return !b || chain_diff_is_zero(b, len);
    }
    return b ? memcmp(a, b, len) == 0 : chain_diff_is_zero(a, len);
}

static uint8_t byte_at(const uint8_t *p, size_t idx)
{
    return p ? p[idx] : 0;
}

static uint64_t word_at(const uint8_t *p, size_t idx)
{
    uint64_t word = 0;

    if (p) {
        memcpy(&word, p + idx, sizeof(word));
    }
    return word;
}

size_t chain_diff_first(const uint8_t *a, const uint8_t *b, size_t len)
{
    size_t off = 0;

    while (off < len) {
        size_t n = len - off < BLOCK_LEN ? len - off : BLOCK_LEN;
        if (!is_block_equal(a ? a + off : NULL, b ? b + off : NULL, n)) {
            break;
        }
        off += n;
    }
    while (off < len && byte_at(a, off) == byte_at(b, off)) {
        off++;
    }
    return off;
}

/* Is any of the eight bytes of X zero? */
static bool has_zero_byte(uint64_t x)
{
    return ((x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull) != 0;
}

static void mark_byte(const uint8_t *a, const uint8_t *b, size_t idx,
                      uint8_t *bits)
{
    if (byte_at(a, idx) != byte_at(b, idx)) {
        bits[idx / 8] |= (uint8_t)(1u << (idx % 8));
    }
}

static void mark_block(const uint8_t *a, const uint8_t *b, size_t begin,
                       size_t end, uint8_t *bits)
{
    size_t idx = begin;

    /* BEGIN is a multiple of WORD_LEN: one word is one byte of BITS. */
    for (; idx + WORD_LEN <= end; idx += WORD_LEN) {
        uint64_t x = word_at(a, idx) ^ word_at(b, idx);
        if (x == 0) {
            continue;
        }
        if (!has_zero_byte(x)) {
            bits[idx / 8] = 0xff;
            continue;
        }
        for (size_t i = idx; i < idx + WORD_LEN; i++) {
            mark_byte(a, b, i, bits);
        }
    }
    for (; idx < end; idx++) {
        mark_byte(a, b, idx, bits);
    }
}

bool chain_diff_mark(const uint8_t *a, const uint8_t *b, size_t len,
                     uint8_t *bits)
{
    bool any = false;

    for (size_t off = 0; off < len; off += BLOCK_LEN) {
        size_t n = len - off < BLOCK_LEN ? len - off : BLOCK_LEN;
        if (!is_block_equal(a ? a + off : NULL, b ? b + off : NULL, n)) {
            mark_block(a, b, off, off + n, bits);
            any = true;
        }
    }
    return any;
}

static bool bit_at(const uint8_t *bits, size_t idx)
{
    return ((unsigned)bits[idx / 8] >> (idx % 8) & 1u) != 0;
}

/* The first bit at or after FROM that is VALUE, END when there is none. */
static size_t find_bit(const uint8_t *bits, size_t from, size_t end, bool value)
{
    const uint8_t skip = value ? 0x00 : 0xff;

    while (from < end) {
        if (from % 8 == 0 && end - from >= 8 && bits[from / 8] == skip) {
            from += 8;
        } else if (bit_at(bits, from) == value) {
            break;
        } else {
            from++;
        }
    }
    return from;
}

bool chain_diff_next_run(const uint8_t *bits, size_t from, size_t end,
                         size_t *first, size_t *len)
{
    *first = find_bit(bits, from, end, true);
    if (*first >= end) {
        return false;
    }
    *len = find_bit(bits, *first, end, false) - *first;
    return true;
}
