/* SPDX-License-Identifier: Apache-2.0
 * xml.h - a pull reader for the small documents that S3 and its kin answer with.
 *
 * What comes is from outside: nesting is limited and checked, a document type is refused, so that
 * nothing can be declared, nothing grows and nothing else is fetched. No namespaces are resolved:
 * names are as written. XML 1.0, fifth edition, without DTDs. Thread: one owner. Memory: the text
 * is borrowed. */
#ifndef QN_BASE_XML_H
#define QN_BASE_XML_H

#include "base/text.h"

enum { QN_XML_DEPTH_MAX = 16 };

enum qn_xml_event {
    QN_XML_OPEN,  /* <name ...>, also before the CLOSE of <name/>; text: the name                */
    QN_XML_CLOSE, /* </name>; text: the name                                                     */
    QN_XML_TEXT,  /* characters, perhaps a part of them; text: as written, for qn_xml_decode     */
    QN_XML_END,   /* the document is over, and whole                                             */
    QN_XML_BROKEN /* it is no such document; the reader stays here                               */
};

/* In the caller's memory: {.text = ...}. */
struct qn_xml {
    struct qn_str text;
    uint32_t at; /* private, like all that follows */
    uint32_t depth;
    struct qn_str open[QN_XML_DEPTH_MAX];
    bool closes, had_root, is_raw;
};

enum qn_xml_event qn_xml_next(struct qn_xml *x, struct qn_str *text);
/* Appends the characters that a QN_XML_TEXT stands for. False: a reference that XML does not know.
 */
bool qn_xml_decode(const struct qn_xml *x, struct qn_str text, struct qn_buf *out);

#endif
