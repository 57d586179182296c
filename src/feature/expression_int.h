/* SPDX-License-Identifier: Apache-2.0
 * expression_int.h - the inside of the expression language, shared by its own files and the
 * sentences of features only.
 *
 *     text -> expression_lex.c        tokens
 *          -> expression_parse.c      order of evaluation
 *          -> expression_node.c       literals, names, constant folding
 *             expression_operators.c  + == and in ...   } ask expression_type.c
 *             expression_calls.c      f(x)              } which types meet
 *          -> expression_finish.c     registers: struct qn_expr
 *          -> expression_run.c        columns, by the operations there and in
 *                                     expression_functions.c
 *
 * A text becomes a list of nodes in the order of evaluation: every node names earlier nodes as its
 * operands, so nothing ever walks a tree and the length of a text costs no stack. Memory: the arena
 * given to the parser. Thread: one while compiling; a compiled expression is read-only. */
#ifndef QN_FEATURE_EXPRESSION_INT_H
#define QN_FEATURE_EXPRESSION_INT_H

#include "base/check.h"
#include "base/digits.h"
#include "base/number.h"
#include "feature/expression.h"

enum {
    QN_EXPR_DEPTH_MAX = 64,       /* parentheses, calls, `not` and unary minus inside each other  */
    QN_EXPR_NODES_MAX = 8192,     /* operations in one expression                                 */
    QN_EXPR_TEXT_MAX = 64 * 1024, /* bytes of one expression                                      */
    QN_EXPR_CHUNK = 1024,         /* rows evaluated at a time: the temporaries stay in the cache  */
    QN_EXPR_ARGS_MAX = 64         /* arguments of min, max, coalesce                              */
};

/* ---- the lexer (expression_lex.c) ---- */

enum qn_token_kind {
    QN_TOKEN_END,
    QN_TOKEN_NAME,
    QN_TOKEN_NUMBER,
    QN_TOKEN_DURATION,
    QN_TOKEN_TEXT,
    QN_TOKEN_PLUS,
    QN_TOKEN_MINUS,
    QN_TOKEN_STAR,
    QN_TOKEN_SLASH,
    QN_TOKEN_PERCENT,
    QN_TOKEN_OPEN,
    QN_TOKEN_CLOSE,
    QN_TOKEN_COMMA,
    QN_TOKEN_DOT,
    QN_TOKEN_EQ,
    QN_TOKEN_NE,
    QN_TOKEN_LT,
    QN_TOKEN_LE,
    QN_TOKEN_GT,
    QN_TOKEN_GE,
    QN_TOKEN_AND,
    QN_TOKEN_OR,
    QN_TOKEN_NOT,
    QN_TOKEN_IN,
    QN_TOKEN_IS,
    QN_TOKEN_TRUE,
    QN_TOKEN_FALSE,
    QN_TOKEN_NULL,
    QN_TOKEN_BAD /* reported; nothing sensible can follow */
};

struct qn_token {
    enum qn_token_kind kind;
    uint32_t at, len;              /* bytes in the text                 */
    struct qn_decimal_text number; /* NUMBER                            */
    int64_t us;                    /* DURATION                          */
};

/* Reads one token after another. diags may be NULL: then mistakes are only seen as QN_TOKEN_BAD. */
struct qn_lexer {
    struct qn_str text;
    struct qn_pos at; /* where text[0] stands in its file */
    struct qn_diags *diags;
    struct qn_token token; /* the current one                  */
    uint32_t pos;          /* first byte behind it             */
    bool mistaken;         /* a mistake was found so far       */
};

void qn_lexer_open(struct qn_lexer *lx, struct qn_str text, struct qn_pos at,
                   struct qn_diags *diags);
void qn_lexer_next(struct qn_lexer *lx);
/* True if the current token is the name `word`. */
bool qn_lexer_is(const struct qn_lexer *lx, const char *word);
struct qn_str qn_lexer_text(const struct qn_lexer *lx);
/* True if the next byte that is not white space is an opening parenthesis. */
bool qn_lexer_sees_call(const struct qn_lexer *lx);
/* The place of bytes [offset, offset + len) of a text that starts at `at`. */
struct qn_pos qn_expr_pos(struct qn_pos at, uint32_t offset, uint32_t len);
/* True for the words of the language that no feature may be called. */
bool qn_expr_is_keyword(struct qn_str word);
/* The keyword that differs from the word in upper and lower case only; NULL where none does. */
const char *qn_expr_keyword_like(struct qn_str word);
/* The aggregates that are designed but not built, by name. */
bool qn_aggregate_is_planned(struct qn_str word);
/* Index in QN_AGGREGATE_LIST, or -1. */
int qn_aggregate_find(struct qn_str word);

/* ---- nodes ---- */

struct qn_expr_node;

/* Operands of one operation over n rows. Values of null rows are undefined; valid is 0 or 1. */
struct qn_vec {
    const uint8_t *valid;
    union {
        const int64_t *i64;
        const double *f64;
        const struct qn_str *str;
        const struct qn_list *list;
        const void *any;
    };
};
struct qn_expr_call {
    uint32_t n;
    struct qn_vec in[3];
    uint8_t *valid; /* result; never overlaps an operand */
    union {
        int64_t *i64;
        double *f64;
        struct qn_str *str;
        void *any;
    };
    const struct qn_expr_node *node;
    struct qn_arena *arena; /* for texts that must be made       */
    bool failed;            /* out of memory                     */
};
typedef void qn_expr_op(struct qn_expr_call *c);

enum qn_node_what { QN_NODE_COLUMN, QN_NODE_CONSTANT, QN_NODE_CALL };
/* Literals keep how they were written, so that they can take the type of the other side. */
enum qn_literal {
    QN_LITERAL_NONE,
    QN_LITERAL_NUMBER,
    QN_LITERAL_TEXT,
    QN_LITERAL_DURATION,
    QN_LITERAL_NULL
};

struct qn_expr_node {
    enum qn_node_what what;
    enum qn_literal literal;
    struct qn_kind kind;
    uint32_t at, len; /* bytes of the text it was read from                        */

    /* COLUMN */
    uint32_t column;

    /* CALL */
    qn_expr_op *op;
    uint32_t in[3]; /* operands, all earlier nodes                               */
    uint32_t ins;
    int64_t param[2];           /* powers of ten, sizes of sets: see the operation           */
    const struct qn_value *set; /* of IN: the values                                         */

    /* CONSTANT */
    bool is_null;
    struct qn_value value;
    struct qn_decimal_text number; /* literal NUMBER   */
    int64_t us;                    /* literal DURATION */

    uint32_t slot; /* CALL: register; CONSTANT: index among constants           */
};

/* A mistake that is already reported: whoever meets it stays silent. */
enum { QN_NODE_BAD = UINT32_MAX };

struct qn_expr {
    struct qn_expr_node *nodes; /* the last one is the result */
    uint32_t count;
    uint32_t narrow, wide; /* registers of 8 and of 16 bytes a row                    */
    uint32_t constants;
    struct qn_pos at;
};

/* What the parser builds into. */
struct qn_builder {
    struct qn_expr_node *nodes;
    uint32_t count, cap;
    struct qn_arena *arena;
    struct qn_diags *diags;
    const struct qn_scope *scope;
    struct qn_str text;
    struct qn_pos at;
    bool failed; /* out of memory */
};

static inline bool qn_kind_eq(struct qn_kind a, struct qn_kind b)
{
    return a.type == b.type && a.scale == b.scale;
}
static inline bool qn_kind_is_number(struct qn_kind k)
{
    return k.type == QN_INT64 || k.type == QN_DOUBLE || k.type == QN_DECIMAL;
}
/* True if values of the kind are 16 bytes. */
static inline bool qn_kind_is_wide(struct qn_kind k)
{
    return k.type == QN_STRING || k.type == QN_LIST;
}

/* 10^exponent, 0 to QN_SCALE_MAX. */
static inline int64_t qn_power_of_ten(unsigned exponent)
{
    QN_ASSERT(exponent <= QN_SCALE_MAX);
    return (int64_t)qn_pow10[exponent];
}

/* A kind without decimals. */
#define QN_KIND(t) ((struct qn_kind){.type = (t)})

/* The functions that make a node give its index, or QN_NODE_BAD after a diagnostic (or out of
 * memory, bd->failed). Operands may be QN_NODE_BAD. at, len: the bytes a message points at. */

/* ---- nodes (expression_node.c) ---- */

/* Borrowed until the next node is added. */
static inline struct qn_expr_node *qn_node_at(const struct qn_builder *bd, uint32_t x)
{
    QN_ASSERT(x < bd->count);
    return &bd->nodes[x];
}
/* Adds a copy of *x; its operands stand before it. */
uint32_t qn_node_add(struct qn_builder *bd, const struct qn_expr_node *x);
/* A new operation; folds it when all operands are constants. */
uint32_t qn_make_op(struct qn_builder *bd, qn_expr_op *op, struct qn_kind kind, const uint32_t *in,
                    uint32_t ins, const int64_t param[2]);
uint32_t qn_make_number(struct qn_builder *bd, const struct qn_decimal_text *d, uint32_t at,
                        uint32_t len);
uint32_t qn_make_duration(struct qn_builder *bd, int64_t us, uint32_t at, uint32_t len);
uint32_t qn_make_text(struct qn_builder *bd, struct qn_str text, uint32_t at, uint32_t len);
uint32_t qn_make_bool(struct qn_builder *bd, bool value, uint32_t at, uint32_t len);
uint32_t qn_make_null(struct qn_builder *bd, uint32_t at, uint32_t len);
uint32_t qn_make_name(struct qn_builder *bd, struct qn_str name, uint32_t at, uint32_t len);
void qn_expr_report(struct qn_builder *bd, enum qn_diag_code code, uint32_t at, uint32_t len,
                    const char *hint, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* ---- types (expression_type.c) ---- */

/* "int64", "decimal(2)", "null", for messages; out holds the text where it is made. */
const char *qn_node_kind_text(const struct qn_expr_node *x, char out[24]);
/* A literal number's own decimals, or more than QN_SCALE_MAX where it is no decimal. */
unsigned qn_literal_scale(const struct qn_expr_node *x);
/* The value of a literal as that kind: true if it fits exactly (a double: the nearest). */
bool qn_literal_as(const struct qn_expr_node *x, struct qn_kind to, struct qn_value *out);
/* The kind in which a and b can meet. False: there is none. Null alone meets everything. */
bool qn_common_kind(const struct qn_expr_node *a, const struct qn_expr_node *b,
                    struct qn_kind *out);
/* The node as exactly that kind: literals adapt where they fit, numbers widen. QN_NODE_BAD without
 * a message otherwise. */
uint32_t qn_make_convert(struct qn_builder *bd, uint32_t x, struct qn_kind to);

/* ---- operators (expression_operators.c) ---- */

uint32_t qn_make_negative(struct qn_builder *bd, uint32_t x, uint32_t at);
uint32_t qn_make_not(struct qn_builder *bd, uint32_t x, uint32_t at);
uint32_t qn_make_is_null(struct qn_builder *bd, uint32_t x, bool wanted, uint32_t at, uint32_t len);
/* op: PLUS MINUS STAR SLASH PERCENT, EQ to GE, AND, OR; at, len: the operator. */
uint32_t qn_make_binary(struct qn_builder *bd, enum qn_token_kind op, uint32_t a, uint32_t b,
                        uint32_t at, uint32_t len);
uint32_t qn_make_in(struct qn_builder *bd, uint32_t x, const uint32_t *items, uint32_t count,
                    uint32_t at, uint32_t len);

/* ---- calls (expression_calls.c) ---- */

uint32_t qn_make_call(struct qn_builder *bd, struct qn_str name, const uint32_t *args,
                      uint32_t count, uint32_t at, uint32_t len);

/* ---- the compiled expression (expression_finish.c) ---- */

/* Drops what is not needed, gives registers. NULL when out of memory. */
struct qn_expr *qn_expr_finish(struct qn_builder *bd, uint32_t root);
/* True if both compute the same from the same columns. */
bool qn_expr_same(const struct qn_expr *a, const struct qn_expr *b);
bool qn_expr_reads(const struct qn_expr *e, uint32_t column);
/* The place of the first use of a column. */
struct qn_pos qn_expr_column_pos(const struct qn_expr *e, uint32_t column);

/* ---- the parser (expression_parse.c) ---- */

/* As qn_expr_parse, with a default for null: a literal of its own text (empty text = none) that
 * must fit the type. *nomem tells the two reasons for NULL apart. */
struct qn_expr *qn_expr_parse_or(struct qn_str text, struct qn_pos at, struct qn_str fallback,
                                 struct qn_pos fallback_at, const struct qn_scope *scope,
                                 struct qn_arena *arena, struct qn_diags *diags, bool *nomem);
/* Reads one literal as a value of that kind; a diagnostic and false where it does not fit. */
bool qn_expr_literal(struct qn_str text, struct qn_pos at, struct qn_kind kind,
                     struct qn_arena *arena, struct qn_diags *diags, struct qn_value *out,
                     bool *nomem);

/* ---- operations of the language itself (expression_run.c) ---- */

/* Evaluates a bool expression to one byte a row: 1 where true, 0 where false or null. */
qn_status qn_expr_run_true(const struct qn_expr *e, const struct qn_col *const *cols,
                           uint32_t first, uint32_t end, uint8_t *out, struct qn_arena *arena,
                           struct qn_err *err);

extern qn_expr_op qn_op_copy8, qn_op_copy16, qn_op_neg_i64, qn_op_neg_f64;
extern qn_expr_op qn_op_add_i64, qn_op_sub_i64, qn_op_mul_i64, qn_op_mod_i64;
extern qn_expr_op qn_op_add_f64, qn_op_sub_f64, qn_op_mul_f64, qn_op_div_f64;
extern qn_expr_op qn_op_scale_i64;  /* times param[0], null on overflow                */
extern qn_expr_op qn_op_int_double; /* nearest double                                  */
extern qn_expr_op qn_op_dec_double; /* divided by 10^param[0], nearest double          */
extern qn_expr_op qn_op_and, qn_op_or, qn_op_not, qn_op_is_null, qn_op_is_not_null;
extern qn_expr_op qn_op_in_i64, qn_op_in_f64, qn_op_in_str; /* set, param[0] = values in it */
/* Comparisons [EQ, NE, LT, LE, GT, GE]. scaled: a times param[0] with b times param[1], in 128
 * bits. */
extern qn_expr_op *const qn_op_compare_i64[6];
extern qn_expr_op *const qn_op_compare_f64[6];
extern qn_expr_op *const qn_op_compare_str[6];
extern qn_expr_op *const qn_op_compare_scaled[6];
extern qn_expr_op *const qn_op_compare_int_double[6];

/* ---- functions (expression_functions.c) ---- */

/* What an argument may be. */
enum qn_arg {
    QN_ARG_NONE,
    QN_ARG_BOOL,
    QN_ARG_NUMBER, /* int64, decimal or double as it is      */
    QN_ARG_REAL,   /* any number, turned into a double       */
    QN_ARG_STRING,
    QN_ARG_TIME,
    QN_ARG_SIZED,     /* string or list                         */
    QN_ARG_SAME,      /* all SAME arguments get one common type */
    QN_ARG_SAME_ORDER /* the same, of a type with an order      */
};
/* What a function gives. */
enum qn_result {
    QN_RESULT_BOOL,
    QN_RESULT_INT64,
    QN_RESULT_DOUBLE,
    QN_RESULT_STRING,
    QN_RESULT_SAME,
    QN_RESULT_WHOLE
};

struct qn_function {
    const char *name;
    const char *usage;   /* "hour(timestamp)"                                               */
    enum qn_arg args[3]; /* the last one repeats where args_max is larger                   */
    uint32_t args_min, args_max;
    enum qn_result result; /* WHOLE: int64 for int64 and decimal, double for double           */
    const char *gives;     /* the result in words                                             */
    const char *help;
    qn_expr_op *i64, *f64, *str, *list; /* by the type of the last argument; NULL: not possible */
    qn_expr_op *decimal; /* where decimals need their own: param[0] = 10^scale              */
};
extern const struct qn_function qn_functions[];
extern const uint32_t qn_function_count;

/* NULL if there is none of that name. */
const struct qn_function *qn_function_find(struct qn_str name);

#endif
