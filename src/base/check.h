/* SPDX-License-Identifier: Apache-2.0
 * check.h - asserts. A bug stops the program, in release builds too.
 *
 * QN_ASSERT is for what must hold and is cheap to test; QN_DCHECK for what is expensive, on in
 * debug and sanitizer builds only. One condition per assert. Bad data and a failing world are never
 * asserted. Thread: any. */
#ifndef QN_BASE_CHECK_H
#define QN_BASE_CHECK_H

/* Prints place and condition to stderr and aborts. */
_Noreturn void qn_assert_failed(const char *file, int line, const char *cond);

#define QN_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            qn_assert_failed(__FILE__, __LINE__, #cond);                                           \
    } while (0)

#ifdef QN_DEBUG
#define QN_DCHECK(cond) QN_ASSERT(cond)
#else
#define QN_DCHECK(cond) ((void)0)
#endif

#endif
