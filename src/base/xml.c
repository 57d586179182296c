/* SPDX-License-Identifier: Apache-2.0
 * xml.c - small XML documents, event by event. See xml.h.
 *
 * Bytes from outside: the reader never goes back and never looks behind the end; depth and names
 * are limited. Thread: one owner. Memory: the reader's own. */
#include "base/xml.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Letters beyond ASCII are let through as they are: names are only compared. */
static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':' || c == '-' || c == '.' || (unsigned char)c >= 0x80;
}

static struct qn_str rest(const struct qn_xml *x)
{
    return (struct qn_str){x->text.p + x->at, x->text.len - x->at};
}

static bool begins(const struct qn_xml *x, const char *with)
{
    const struct qn_str r = rest(x);
    size_t n = strlen(with);

    return r.len >= n && memcmp(r.p, with, n) == 0;
}

/* Goes behind the next `end`; *before: what lies before it. */
static bool find(struct qn_xml *x, const char *end, struct qn_str *before)
{
    const struct qn_str r = rest(x);
    const size_t n = strlen(end);
    const char *found = r.len > 0 ? memmem(r.p, r.len, end, n) : NULL;

    if (found == NULL)
        return false;
    *before = (struct qn_str){r.p, (uint32_t)(found - r.p)};
    x->at += before->len + (uint32_t)n;
    return true;
}

static struct qn_str take_name(struct qn_xml *x)
{
    struct qn_str name = {x->text.p + x->at, 0};

    while (x->at < x->text.len && is_name_byte(x->text.p[x->at])) {
        x->at++;
        name.len++;
    }
    return name;
}

static void skip_space(struct qn_xml *x)
{
    while (x->at < x->text.len && is_space(x->text.p[x->at]))
        x->at++;
}

/* From behind the name to behind the '>'. Attributes are looked at only to find their end. */
static bool skip_attributes(struct qn_xml *x, bool *is_empty)
{
    struct qn_str value;

    for (;;) {
        skip_space(x);
        if (x->at >= x->text.len)
            return false;
        if (begins(x, ">") || begins(x, "/>")) {
            *is_empty = x->text.p[x->at] == '/';
            x->at += *is_empty ? 2 : 1;
            return true;
        }
        if (take_name(x).len == 0)
            return false;
        skip_space(x);
        if (!begins(x, "="))
            return false;
        x->at++;
        skip_space(x);
        if (!begins(x, "\"") && !begins(x, "'"))
            return false;
        const char quote[2] = {x->text.p[x->at++], '\0'};

        if (!find(x, quote, &value))
            return false;
    }
}

static enum qn_xml_event open_element(struct qn_xml *x, struct qn_str *text)
{
    x->at++;
    *text = take_name(x);
    if (text->len == 0 || x->depth == QN_XML_DEPTH_MAX || (x->depth == 0 && x->had_root) ||
        !skip_attributes(x, &x->closes))
        return QN_XML_BROKEN;
    x->had_root = true;
    x->open[x->depth++] = *text;
    return QN_XML_OPEN;
}

static enum qn_xml_event close_element(struct qn_xml *x, struct qn_str *text)
{
    x->at += 2;
    *text = take_name(x);
    skip_space(x);
    if (x->depth == 0 || !qn_str_eq(*text, x->open[x->depth - 1]) || !begins(x, ">"))
        return QN_XML_BROKEN;
    x->at++;
    x->depth--;
    return QN_XML_CLOSE;
}

/* What may stand between elements and says nothing: comments, instructions, blanks outside. */
static bool skip_silent(struct qn_xml *x)
{
    struct qn_str silent;

    for (;;) {
        if (x->depth == 0)
            skip_space(x);
        if (begins(x, "<!--")) {
            x->at += 4;
            if (!find(x, "-->", &silent))
                return false;
        } else if (begins(x, "<?")) {
            if (!find(x, "?>", &silent))
                return false;
        } else {
            return true;
        }
    }
}

static enum qn_xml_event next(struct qn_xml *x, struct qn_str *text)
{
    const char *end;

    if (!skip_silent(x))
        return QN_XML_BROKEN;
    if (x->at >= x->text.len)
        return x->depth == 0 && x->had_root ? QN_XML_END : QN_XML_BROKEN;
    if (begins(x, "</"))
        return close_element(x, text);
    if (begins(x, "<![CDATA[")) {
        x->at += 9;
        x->is_raw = true;
        return x->depth > 0 && find(x, "]]>", text) ? QN_XML_TEXT : QN_XML_BROKEN;
    }
    if (begins(x, "<!"))
        return QN_XML_BROKEN;
    if (x->text.p[x->at] == '<')
        return open_element(x, text);
    if (x->depth == 0)
        return QN_XML_BROKEN;
    *text = rest(x);
    end = memchr(text->p, '<', text->len);
    if (end != NULL)
        text->len = (uint32_t)(end - text->p);
    x->at += text->len;
    return QN_XML_TEXT;
}

enum qn_xml_event qn_xml_next(struct qn_xml *x, struct qn_str *text)
{
    const struct qn_xml before = *x;
    enum qn_xml_event e;

    *text = (struct qn_str){NULL, 0};
    x->is_raw = false;
    if (x->closes) {
        x->closes = false;
        *text = x->open[--x->depth];
        return QN_XML_CLOSE;
    }
    e = next(x, text);
    if (e == QN_XML_BROKEN)
        *x = before;
    return e;
}

/* &#38; and &#x26;, without the signs around. */
static bool decode_number(struct qn_str digits, struct qn_buf *out)
{
    const bool is_hex = digits.len > 0 && digits.p[0] == 'x';
    const uint32_t base = is_hex ? 16 : 10;
    uint32_t number = 0;
    char utf8[4];

    if (digits.len - is_hex == 0 || digits.len - is_hex > 7)
        return false;
    for (uint32_t i = is_hex; i < digits.len; i++) {
        const char c = digits.p[i];
        const uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                           : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                           : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                  : base;

        if (d >= base)
            return false;
        number = number * base + d;
    }
    if (number == 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff))
        return false;
    qn_buf_add(out, utf8, qn_utf8_put(utf8, number));
    return true;
}

static bool decode_reference(struct qn_str name, struct qn_buf *out)
{
    static const struct {
        const char *name;
        char sign;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};

    if (name.len > 1 && name.p[0] == '#')
        return decode_number((struct qn_str){name.p + 1, name.len - 1}, out);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (qn_str_is(name, known[i].name)) {
            qn_buf_byte(out, known[i].sign);
            return true;
        }
    return false;
}

bool qn_xml_decode(const struct qn_xml *x, struct qn_str text, struct qn_buf *out)
{
    if (x->is_raw) {
        qn_buf_add(out, text.p, text.len);
        return true;
    }
    while (text.len > 0) {
        const char *sign = memchr(text.p, '&', text.len);
        const uint32_t plain = sign != NULL ? (uint32_t)(sign - text.p) : text.len;
        const char *end;

        qn_buf_add(out, text.p, plain);
        text.p += plain;
        text.len -= plain;
        if (text.len == 0)
            return true;
        end = memchr(text.p, ';', text.len);
        if (end == NULL ||
            !decode_reference((struct qn_str){text.p + 1, (uint32_t)(end - text.p) - 1}, out))
            return false;
        text.len -= (uint32_t)(end + 1 - text.p);
        text.p = end + 1;
    }
    return true;
}
