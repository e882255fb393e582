/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress: a bar with rate and time left on a terminal, qemu-img's text
 * elsewhere, one JSON object a line on request, and one line for SIGUSR1
 * whatever was asked for.
 */
#include "progress.h"

#include <img/json.h>
#include <img/memory.h>
#include <img/size.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "signals.h"
#include "terminal.h"

#define INTERVAL_NS 500000000u
#define RATE_MIN_NS 1000000u
#define BAR_MAX_LEN 256

static struct {
    enum progress_mode mode;
    const char *phase; /* NULL: no work under way */
    uint64_t begin_ns, shown_ns;
    uint64_t done, total;
    bool is_bar;   /* a bar rather than lines */
    bool is_dirty; /* a bar stands on the current line */
    bool is_stale; /* something changed since a line was shown */
} state;

static uint64_t now_ns(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double percent(void)
{
    if (state.total == 0) {
        return 100.0;
    }
    return 100.0 * (double)state.done / (double)state.total;
}

static uint64_t rate(uint64_t now)
{
    uint64_t elapsed_ns = now - state.begin_ns;

    /* So early it is the rate of nothing but the first answer. */
    return elapsed_ns > RATE_MIN_NS
               ? (uint64_t)((double)state.done * 1e9 / (double)elapsed_ns)
               : 0;
}

static void put(const char *text, int len)
{
    if (len > 0) {
        (void)!write(STDERR_FILENO, text, (size_t)len);
    }
}

static void show_json(uint64_t now)
{
    struct img_error err;
    struct img_json *line = img_json_object();
    char *text;

    img_json_set_u64(line, "done", state.done);
    img_json_set_u64(line, "total", state.total);
    img_json_set_u64(line, "rate", rate(now));
    img_json_set_string(line, "phase", state.phase);
    text = img_json_text(line, false, &err);
    img_json_free(line);
    if (text) {
        (void)dprintf(STDERR_FILENO, "%s\n", text);
    }
    free(text);
}

static void show_bar(uint64_t now)
{
    char line[BAR_MAX_LEN], bar[BAR_MAX_LEN], speed[IMG_SIZE_TEXT_LEN];
    uint64_t per_second = rate(now);
    unsigned width = terminal_width(STDERR_FILENO);
    unsigned room = width > 46 ? width - 46 : 8;
    unsigned full;
    int len;

    if (room > sizeof(bar) - 1) {
        room = sizeof(bar) - 1;
    }
    full = (unsigned)(percent() / 100.0 * room);
    for (unsigned i = 0; i < room; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[room] = '\0';
    img_size_short(per_second, speed);
    len = snprintf(line, sizeof(line), "\r\033[K%6.2f%% [%s] %s/s", percent(),
                   bar, speed);
    put(line, len < (int)sizeof(line) ? len : (int)sizeof(line) - 1);
    if (per_second > 0 && state.total >= state.done) {
        uint64_t left = (state.total - state.done) / per_second;

        len = snprintf(line, sizeof(line), " %u:%02u:%02u left",
                       (unsigned)(left / 3600 % 1000),
                       (unsigned)(left / 60 % 60), (unsigned)(left % 60));
        put(line, len);
    }
    state.is_dirty = true;
}

static void show(uint64_t now)
{
    char line[64];

    state.shown_ns = now;
    state.is_stale = false;
    if (state.mode == PROGRESS_JSON) {
        show_json(now);
    } else if (state.is_bar) {
        show_bar(now);
    } else {
        put(line,
            snprintf(line, sizeof(line), "    (%3.2f/100%%)\r", percent()));
    }
}

void progress_begin(enum progress_mode mode, const char *phase)
{
    state.mode = mode;
    state.phase = phase;
    state.begin_ns = now_ns();
    state.shown_ns = 0;
    state.done = 0;
    state.total = 0;
    state.is_bar = mode == PROGRESS_TEXT && terminal_is_fancy(STDERR_FILENO);
    state.is_dirty = false;
    state.is_stale = true;
}

void progress_phase(const char *phase, uint64_t done, uint64_t total)
{
    enum progress_mode mode = state.mode;
    bool is_shown = mode == PROGRESS_JSON || total > 1;

    if (!state.phase || !is_shown) {
        return;
    }
    if (strcmp(state.phase, phase) != 0) {
        progress_end();
        progress_begin(mode, phase);
    }
    progress_update(done, total);
}

void progress_complete(void)
{
    state.is_stale |= state.done != state.total;
    state.done = state.total;
    if (state.shown_ns == 0) {
        state.shown_ns = state.begin_ns;
    }
}

void progress_update(uint64_t done, uint64_t total)
{
    uint64_t now;

    if (!state.phase) {
        return;
    }
    state.is_stale |= done != state.done || total != state.total;
    state.done = done;
    state.total = total;
    if (signals_take_usr1()) {
        char line[64];

        progress_clear();
        put(line,
            snprintf(line, sizeof(line), "    (%3.2f/100%%)\n", percent()));
    }
    if (state.mode == PROGRESS_NONE) {
        return;
    }
    now = now_ns();
    if (state.shown_ns == 0 || now - state.shown_ns >= INTERVAL_NS) {
        show(now);
    }
}

void progress_end(void)
{
    if (state.phase && state.mode != PROGRESS_NONE && state.shown_ns != 0) {
        if (state.is_stale || state.mode == PROGRESS_TEXT) {
            show(now_ns());
        }
        if (state.mode == PROGRESS_TEXT) {
            put("\n", 1);
        }
    }
    state.is_dirty = false;
    state.phase = NULL;
}

void progress_clear(void)
{
    if (state.is_dirty) {
        put("\r\033[K", 4);
        state.is_dirty = false;
    }
}
