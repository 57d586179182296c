/* SPDX-License-Identifier: Apache-2.0
 * test_proto.c - Protobuf schemas that can be and cannot, values at their edges, records that lie.
 * What the official client writes is held against in tests/e2e/test_kafka_protobuf.py. */
#include "event_fixture.h"

#include "event/proto.h"

#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
#define P3 "syntax=\"proto3\";"

static struct qn_buf json_of(const struct qn_proto_text *texts, uint32_t count,
                             struct qn_str record)
{
    struct qn_buf out = {0}, room = {0};
    struct qn_wire_fault fault = {0};
    const struct qn_proto *proto;
    struct qn_err err = {0};
    struct qn_arena a;

    qn_arena_init(&a, 0);
    if (qn_proto_read(texts, count, &a, &proto, &err) != QN_OK) {
        qn_buf_printf(&out, "no schema: %s", err.text);
    } else if (!qn_proto_json(proto, record, &room, &out, &fault)) {
        qn_buf_clear(&out);
        qn_buf_printf(&out, "%s: %s", qn_reason_name(fault.reason), fault.why);
    }
    qn_buf_byte(&out, '\0');
    qn_buf_fini(&room);
    qn_arena_fini(&a);
    return out;
}

static void check(const char *schema, struct qn_str record, const char *expected)
{
    const struct qn_proto_text text = {{"", 0}, qn_str_of(schema)};
    struct qn_buf out = json_of(&text, 1, record);

    assert_string_equal(out.data, expected);
    qn_buf_fini(&out);
}

static void test_values(void **state)
{
    static const struct {
        const char *schema;
        struct qn_str record;
        const char *expected;
    } cases[] = {
        /* what was not written */
        {P3 "message M{int32 i=1;double d=2;bool b=3;string s=4;bytes y=5;E e=6;repeated int64 r=7;"
            "map<string,int32> m=8;M c=9;optional int32 o=10;oneof x{int32 p=11;}}enum E{A=0;B=1;}",
         BYTES("\0"),
         "{\"i\":0,\"d\":0,\"b\":false,\"s\":\"\",\"y\":\"\",\"e\":\"A\",\"r\":[],\"m\":{}}"},
        {"message M{optional int32 i=1[default=5];required string s=2;repeated E e=3;}enum E{A=3;}",
         BYTES("\0"), "{\"e\":[]}"},
        /* numbers at their edges */
        {P3 "message M{int32 a=1;}", BYTES("\0\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01"),
         "{\"a\":-2147483648}"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x08\x80\x80\x80\x80\x08"), "{\"a\":-2147483648}"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x08\x80\x80\x80\x80\x10"),
         "bad_record: byte 1: 'a': a number of more than 32 bits"},
        {P3 "message M{uint32 a=1;}", BYTES("\0\x08\xff\xff\xff\xff\x0f"), "{\"a\":4294967295}"},
        {P3 "message M{sint32 a=1;}", BYTES("\0\x08\xff\xff\xff\xff\x0f"), "{\"a\":-2147483648}"},
        {P3 "message M{int64 a=1;}", BYTES("\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "{\"a\":-1}"},
        {P3 "message M{uint64 a=1;}", BYTES("\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "{\"a\":18446744073709551615}"},
        {P3 "message M{sint64 a=1;}", BYTES("\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "{\"a\":-9223372036854775808}"},
        {P3 "message M{fixed32 a=1;sfixed32 b=2;fixed64 c=3;sfixed64 d=4;}",
         BYTES("\0\x0d\xff\xff\xff\xff\x15\xff\xff\xff\xff\x19\xff\xff\xff\xff\xff\xff\xff\xff"
               "\x21\xff\xff\xff\xff\xff\xff\xff\xff"),
         "{\"a\":4294967295,\"b\":-1,\"c\":18446744073709551615,\"d\":-1}"},
        {P3 "message M{float f=1;double d=2;}",
         BYTES("\0\x0d\xcd\xcc\xcc\x3d\x11\0\0\0\0\0\0\xf0\xff"),
         "{\"f\":0.10000000149011612,\"d\":\"-Infinity\"}"},
        {P3 "message M{bool b=1;E e=2;}enum E{option allow_alias=true;A=0;B=1;C=1;N=-1;}",
         BYTES("\0\x08\x02\x10\x01"), "{\"b\":true,\"e\":\"B\"}"},
        {P3 "message M{E e=2;}enum E{A=0;N=-1;}",
         BYTES("\0\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "{\"e\":\"N\"}"},
        {P3 "message M{E e=2;}enum E{A=0;N=-1;}", BYTES("\0\x10\x07"), "{\"e\":7}"},
        {P3 "message M{bytes y=1;string s=2;}", BYTES("\0\x0a\x02\xff\xfe\x12\x02\xc3\xa9"),
         "{\"y\":\"//4=\",\"s\":\"\xc3\xa9\"}"},
        {P3 "message M{string s=2;}", BYTES("\0\x12\x01\xff"),
         "bad_utf8: byte 3: a text that is not UTF-8"},
        /* lists, packed, not packed, both; order; the last counts */
        {P3 "message M{repeated int32 r=1;repeated fixed32 f=2;int32 z=3;}",
         BYTES(
             "\0\x18\x09\x0a\x02\x01\x02\x08\x03\x12\x08\x01\0\0\0\x02\0\0\0\x0a\x01\x04\x18\x08"),
         "{\"r\":[1,2,3,4],\"f\":[1,2],\"z\":8}"},
        {P3 "message M{repeated fixed32 f=2;}", BYTES("\0\x12\x05\x01\0\0\0\x02"),
         "bad_record: byte 7: a number that is cut off"},
        {P3 "message M{repeated string s=1;repeated M m=2;}",
         BYTES("\0\x0a\x01\x61\x12\0\x0a\0\x12\x03\x0a\x01\x62"),
         "{\"s\":[\"a\",\"\"],\"m\":[{\"s\":[],\"m\":[]},{\"s\":[\"b\"],\"m\":[]}]}"},
        /* a message in pieces is one; a oneof its last */
        {P3 "message M{N n=1;}message N{int32 a=1;int32 b=2;repeated int32 c=3;}",
         BYTES("\0\x0a\x04\x08\x01\x18\x05\x0a\x06\x08\x02\x10\x03\x18\x06"),
         "{\"n\":{\"a\":2,\"b\":3,\"c\":[5,6]}}"},
        {P3 "message M{oneof x{N n=1;int32 i=2;string s=3;}}message N{int32 a=1;int32 b=2;}",
         BYTES("\0\x0a\x02\x08\x01\x10\x07\x0a\x02\x10\x02"), "{\"n\":{\"a\":0,\"b\":2}}"},
        {P3 "message M{oneof x{N n=1;int32 i=2;string s=3;}}message N{int32 a=1;int32 b=2;}",
         BYTES("\0\x0a\x02\x08\x01\x10\x00"), "{\"i\":0}"},
        /* maps: of a key that comes again the last, keys and values that were not written */
        {P3 "message M{map<string,int32> m=1;}",
         BYTES("\0\x0a\x05\x0a\x01\x61\x10\x01\x0a\x05\x0a\x01\x62\x10\x02\x0a\x05\x10\x03\x0a\x01"
               "\x61\x0a\0"),
         "{\"m\":{\"b\":2,\"a\":3,\"\":0}}"},
        {P3 "message M{map<bool,N> m=1;map<sint64,E> e=2;}message N{int32 a=1;}enum E{A=0;}",
         BYTES("\0\x0a\x02\x08\x01\x0a\0\x12\x04\x08\x03\x10\0"),
         "{\"m\":{\"true\":{\"a\":0},\"false\":{\"a\":0}},\"e\":{\"-2\":\"A\"}}"},
        {"message M{repeated M.TsEntry ts=1;message TsEntry{option map_entry=true;optional string "
         "key=1;optional N value=2;}}message N{}",
         BYTES("\0\x0a\x03\x0a\x01k"), "{\"ts\":{\"k\":{}}}"},
        /* what is not known, or cannot be */
        {P3 "message M{int32 a=1;}",
         BYTES("\0\x10\x05\x1a\x01x\x23\x2b\x08\x01\x2c\x24\x3d\1\2\3\4\x41\1\2\3\4\5\6\7\x08\x08"
               "\x01"),
         "{\"a\":1}"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x23\x2b\x24\x2c"),
         "bad_record: byte 4: groups that do not fit into each other"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x23"),
         "bad_record: byte 2: a group that is cut off"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x24"),
         "bad_record: byte 2: the end of a group that did not begin"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x0d\0\0\0\0"),
         "bad_record: byte 1: 'a': a wire type that is not its own"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x0a\0"),
         "bad_record: byte 1: 'a': a wire type that is not its own"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x08"),
         "bad_record: byte 2: a number that is cut off"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x12\x05"),
         "bad_record: byte 3: a field that is cut off"},
        {P3 "message M{int32 a=1;}", BYTES("\0\0\0"),
         "bad_record: byte 2: a field whose number cannot be"},
        {P3 "message M{int32 a=1;}", BYTES("\0\x0e"),
         "bad_record: byte 2: a field of a wire type that cannot be"},
        /* which message */
        {P3 "message A{}message B{message C{}message D{int32 a=1;}}", BYTES("\x04\x02\x02"),
         "{\"a\":0}"},
        {P3 "message A{}message B{int32 b=1;}", BYTES("\x02\x02"), "{\"b\":0}"},
        {P3 "message A{}message B{int32 b=1;}", BYTES("\x02\x04"),
         "bad_record: byte 2: a message that the schema has not"},
        {P3 "message A{}", BYTES("\x02\x01"),
         "bad_record: byte 2: a message that the schema has not"},
        {P3 "message A{}", BYTES("\x01"), "bad_record: byte 1: a path to a message that cannot be"},
        {P3 "message A{}", BYTES(""), "bad_record: byte 0: a number that is cut off"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(cases[i].schema, cases[i].record, cases[i].expected);
}

#define KNOWN(what, type) P3 "import \"" what ".proto\";message M{" type " v=1;}"

static void test_known(void **state)
{
    static const struct {
        const char *schema;
        struct qn_str record;
        const char *expected;
    } cases[] = {
        {KNOWN("google/protobuf/timestamp", "google.protobuf.Timestamp"), BYTES("\0"), "{}"},
        {KNOWN("google/protobuf/timestamp", "google.protobuf.Timestamp"), BYTES("\0\x0a\0"),
         "{\"v\":\"1970-01-01T00:00:00.000000Z\"}"},
        {KNOWN("google/protobuf/timestamp", "google.protobuf.Timestamp"),
         BYTES("\0\x0a\x11\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\xff\x93\xeb\xdc\x03"),
         "{\"v\":\"1969-12-31T23:59:59.999999Z\"}"},
        {KNOWN("google/protobuf/timestamp", "google.protobuf.Timestamp"),
         BYTES("\0\x0a\x06\x10\x80\x94\xeb\xdc\x03"),
         "bad_record: byte 0: a google.protobuf.Timestamp whose nanos cannot be"},
        {KNOWN("google/protobuf/duration", "google.protobuf.Duration"),
         BYTES("\0\x0a\x07\x08\x03\x10\x80\xda\xc4\x09"), "{\"v\":3.02}"},
        {KNOWN("google/protobuf/duration", "google.protobuf.Duration"),
         BYTES("\0\x0a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "{\"v\":-0.000000001}"},
        {KNOWN("google/protobuf/duration", "google.protobuf.Duration"), BYTES("\0\x0a\0"),
         "{\"v\":0}"},
        {KNOWN("google/protobuf/wrappers", "google.protobuf.Int64Value"), BYTES("\0\x0a\0"),
         "{\"v\":0}"},
        {KNOWN("google/protobuf/wrappers", "google.protobuf.StringValue"),
         BYTES("\0\x0a\x03\x0a\x01x"), "{\"v\":\"x\"}"},
        {KNOWN("google/protobuf/struct", "google.protobuf.Value"), BYTES("\0\x0a\0"),
         "{\"v\":null}"},
        {KNOWN("google/protobuf/struct", "google.protobuf.Value"), BYTES("\0\x0a\x02\x08\0"),
         "{\"v\":null}"},
        {KNOWN("google/protobuf/struct", "google.protobuf.Struct"),
         BYTES("\0\x0a\x0d\x0a\x0b\x0a\x01k\x12\x06\x32\x04\x0a\x02\x20\x01"),
         "{\"v\":{\"k\":[true]}}"},
        {KNOWN("google/protobuf/any", "google.protobuf.Any"), BYTES("\0\x0a\x03\x0a\x01x"),
         "{\"v\":{\"type_url\":\"x\",\"value\":\"\"}}"},
        {KNOWN("confluent/type/decimal", "confluent.type.Decimal"),
         BYTES("\0\x0a\x06\x0a\x02\xff\x85\x18\x02"), "{\"v\":-1.23}"},
        {KNOWN("confluent/types/decimal", "confluent.type.Decimal"),
         BYTES("\0\x0a\x0e\x0a\x01\x05\x18\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "{\"v\":500}"},
        {KNOWN("google/type/decimal", "google.type.Decimal"), BYTES("\0\x0a\x07\x0a\x05+0.5e"),
         "{\"v\":\"+0.5e\"}"},
        {KNOWN("google/type/decimal", "google.type.Decimal"), BYTES("\0\x0a\x08\x0a\x06-.5e-3"),
         "{\"v\":-0.5e-3}"},
        {KNOWN("google/type/decimal", "google.type.Decimal"), BYTES("\0\x0a\x06\x0a\x04+05."),
         "{\"v\":5}"},
        {KNOWN("google/type/decimal", "google.type.Decimal"), BYTES("\0\x0a\0"), "{\"v\":0}"},
        {KNOWN("google/type/decimal", "google.type.Decimal"), BYTES("\0\x0a\x03\x0a\x01."),
         "{\"v\":\".\"}"},
        /* of that name, and another form */
        {P3 "package google.protobuf;message Timestamp{int32 seconds=1;}", BYTES("\0"),
         "{\"seconds\":0}"},
        /* a Value in a Value in a Value */
        {P3 "package google.protobuf;message Value{NullValue a=1;double b=2;string c=3;bool d=4;"
            "Value e=5;Value f=6;}enum NullValue{X=0;}",
         BYTES("\0"), "\"\""},
    };

    (void)state;
    for (size_t i = 0; i + 1 < sizeof cases / sizeof cases[0]; i++)
        check(cases[i].schema, cases[i].record, cases[i].expected);
}

/* n messages in each other, each the field 1 (or 6) of the one around it. */
static void nest(struct qn_buf *record, int n, char tag)
{
    struct qn_buf inner = {0};

    qn_buf_text(record, "");
    for (int i = 0; i < n; i++) {
        qn_buf_clear(&inner);
        qn_buf_add(&inner, record->data, record->len);
        qn_buf_clear(record);
        qn_buf_byte(record, tag);
        if (inner.len >= 128)
            qn_buf_byte(record, (char)(inner.len | 0x80));
        qn_buf_byte(record, (char)(inner.len >= 128 ? inner.len >> 7 : inner.len));
        qn_buf_add(record, inner.data, inner.len);
    }
    qn_buf_clear(&inner);
    qn_buf_byte(&inner, '\0');
    qn_buf_add(&inner, record->data, record->len);
    qn_buf_fini(record);
    *record = inner;
}

static void test_depth(void **state)
{
    static const char *const schemas[] = {
        P3 "message M{M m=1;}",
        P3 "package google.protobuf;message Value{NullValue a=7;double b=2;string c=3;bool d=4;"
           "Value e=5;Value m=1;}enum NullValue{X=0;}"};
    struct qn_buf record = {0}, out;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct qn_proto_text text = {{"", 0}, qn_str_of(schemas[i])};

        nest(&record, 400, '\x0a');
        out = json_of(&text, 1, (struct qn_str){record.data, (uint32_t)record.len});
        assert_string_equal(out.data, "too_deep: byte 0: nested too deeply");
        qn_buf_fini(&out);
        qn_buf_fini(&record);
    }
    nest(&record, 63, '\x0a');
    out = json_of(&(struct qn_proto_text){{"", 0}, qn_str_of(schemas[0])}, 1,
                  (struct qn_str){record.data, (uint32_t)record.len});
    assert_memory_equal(out.data, "{\"m\":{\"m\":", 10);
    assert_true(qn_json_valid(qn_str_of(out.data)));
    qn_buf_fini(&out);
    qn_buf_fini(&record);
}

static void test_schemas(void **state)
{
    static const struct {
        const char *schema, *expected;
    } cases[] = {
        {"", "no schema: the Protobuf schema has no message"},
        {"enum E{A=0;}", "no schema: the Protobuf schema has no message"},
        {"message",
         "no schema: the Protobuf schema, 1:8: the text ends where the name of a message "
         "was expected"},
        {"message M{\n  int32 a = 1;\n}",
         "no schema: the Protobuf schema, 2:3: found 'int32' where required, optional or repeated "
         "(of syntax proto2) was expected"},
        {P3 "message M{\n  int32 a = 0x20000000;\n}",
         "no schema: the Protobuf schema, 2:13: found '0x20000000' where a field's number was "
         "expected"},
        {P3 "message M{int32 a=0;}",
         "no schema: the Protobuf schema, 1:33: the field 'a' has no number"},
        {P3 "message M{int32 a=1;string b=01;}",
         "no schema: the Protobuf schema, 1:44: 'M' has two fields with the number 1"},
        {P3 "message M{strin a=1;}",
         "no schema: the Protobuf schema, 1:33: no type is called 'strin'"},
        {P3 "import \"a/b.proto\";message M{x.Y a=1;}",
         "no schema: the Protobuf schema, 1:50: no type is called 'x.Y', and the import "
         "'a/b.proto' is none of its references"},
        {P3 "message M{}enum M{A=0;}",
         "no schema: the Protobuf schema, 1:33: 'M' is defined twice"},
        {"message M{optional group G=1{}}",
         "no schema: the Protobuf schema, 1:20: groups are not read: a message of its own is"},
        {"edition = \"2023\";", "no schema: the Protobuf schema, 1:1: editions are not read: "
                                "syntax proto2 and proto3 are"},
        {"syntax = \"proto4\";",
         "no schema: the Protobuf schema, 1:10: found 'proto4' where \"proto2\" or \"proto3\" was "
         "expected"},
        {P3 "message M{map<double,int32> m=1;}",
         "no schema: the Protobuf schema: a map in 'M' whose key is no whole number, text or bool"},
        {P3 "enum E{}", "no schema: the Protobuf schema, 1:22: an enum without values"},
        {"/* ", "no schema: the Protobuf schema, 1:1: a comment that does not end"},
        {"import \"a\n\";", "no schema: the Protobuf schema, 1:8: a text that does not end"},
        {"message M {\xff}",
         "no schema: the Protobuf schema, 1:12: a byte that no .proto has (0xff)"},
        {"message M{option x={a:1", "no schema: the Protobuf schema, 1:24: the text ends where ';' "
                                    "was expected"},
        {"AAAA", "no schema: the Protobuf schema: the descriptor is broken: a field whose number "
                 "cannot be"},
        /* what is passed over */
        {"\xef\xbb\xbfsyntax='proto2';// c\n/* \n * */package a.b;;option java_package = \"x\";\n"
         "option (my.opt) = { a: \"}\" b { c: 1 } };\n"
         "import public \"google/protobuf/descriptor.proto\";\n"
         "extend google.protobuf.FieldOptions { optional string x = 50000; }\n"
         "message M { option deprecated = true; reserved 2, 15, 9 to 11; reserved \"foo\", "
         "\"bar\";\n"
         "  extensions 100 to max [declaration = { number: 4 }];\n"
         "  extend M { optional int32 e = 100; };\n"
         "  optional .a.b.M.In in = 1 [(my.opt) = \"]\", deprecated = true];\n"
         "  message In { optional sfixed32 v = 0x1 [default = -1]; }\n"
         "  enum Old { option allow_alias = true; reserved 4; A = 0 [deprecated = true]; B = -0x1; "
         "}\n"
         "  oneof one { option (o) = 1; In a = 3; string message = 4; };\n"
         "  optional int32 optional = 7; repeated string map = 6;\n}\n"
         "service S { rpc R (M) returns (stream M) { option (http) = { get: \"/x\" }; } }\n",
         "{\"message\":\"\",\"map\":[]}"},
        /* the nearest scope counts */
        {P3 "package p;message M{message A{int32 near=1;}repeated A a=1;A b=2;.p.A c=3;p.A d=4;}"
            "message A{int32 far=1;}",
         "{\"a\":[],\"b\":{\"near\":0},\"c\":{\"far\":0},\"d\":{\"far\":0}}"},
        {P3 "package p;message M{message p{}p.A a=1;}message A{}",
         "no schema: the Protobuf schema, 1:52: no type is called 'p.A'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(cases[i].schema, (struct qn_str)BYTES("\0\x12\0\x1a\0\x22\0"), cases[i].expected);
}

/* FileDescriptorProto of: syntax proto3; package n; message N { optional int32 o = 1; uint64 i = 2;
 * map<string, int32> m = 3; E e = 4; oneof one { string x = 5; } } enum E { A = 0; B = -1; } */
static const char file_n[] =
    "CgduLnByb3RvEgFuIo4BCgFOEhEKAW8YASABKAVIAVIBb4gBARIJCgFpGAIgASgEEhYKAW"
    "0YAyADKAsyCy5uLk4uTUVudHJ5Eg8KAWUYBCABKA4yBC5uLkUSCwoBeBgFIAEoCUgAGigK"
    "Bk1FbnRyeRILCgNrZXkYASABKAkSDQoFdmFsdWUYAiABKAU6AjgBQgUKA29uZUIECgJfby"
    "oaCgFFEgUKAUEQABIOCgFCEP///////////wFiBnByb3RvMw==";

static void test_files(void **state)
{
    const struct qn_proto_text texts[] = {
        {qn_str_of("n.proto"), qn_str_of(file_n)},
        {qn_str_of("o.proto"), qn_str_of(P3 "package o;message O{int32 x=1;}")},
        {qn_str_of(""),
         qn_str_of(P3 "package p;import \"o.proto\";import \"google/protobuf/wrappers.proto\";"
                      "message M{o.O o=1;google.protobuf.Int32Value w=2;n.N n=3;}")}};
    struct qn_buf out =
        json_of(texts, 3, (struct qn_str)BYTES("\0\x0a\x02\x08\x05\x12\x02\x08\x01\x1a\0"));

    (void)state;
    assert_string_equal(out.data, "{\"o\":{\"x\":5},\"w\":1,\"n\":{\"i\":0,\"m\":{},\"e\":\"A\"}}");
    qn_buf_fini(&out);
    out = json_of(texts + 2, 1, (struct qn_str){"", 0});
    assert_string_equal(out.data, "no schema: the Protobuf schema, 1:98: no type is called 'o.O', "
                                  "and the import 'o.proto' is none of its references");
    qn_buf_fini(&out);
    check(file_n,
          (struct qn_str)BYTES("\0\x08\0\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x2a\0"),
          "{\"o\":0,\"i\":0,\"m\":{},\"e\":\"B\",\"x\":\"\"}");
    /* an entry of a map counts in a path, as it does for the clients that register descriptors */
    check(file_n, (struct qn_str)BYTES("\x04\0\0\x0a\x01k\x10\x07"), "{\"key\":\"k\",\"value\":7}");
}

/* The n-th allocation fails: no leak, the same error. */
static void test_no_memory(void **state)
{
    const struct qn_proto_text text = {
        {"", 0},
        qn_str_of(P3 "import \"google/protobuf/struct.proto\";message M{map<int32,M> m=1;E e=2;"
                     "google.protobuf.Struct s=3;}enum E{A=0;}")};
    const struct qn_str record = BYTES("\0\x0a\x02\x08\x01\x0a\x02\x08\x02");
    bool is_done = false;

    (void)state;
    for (uint64_t n = 1; !is_done; n++) {
        struct qn_buf room = {0}, out = {0};
        struct qn_wire_fault fault = {0};
        const struct qn_proto *proto;
        struct qn_err err = {0};
        struct qn_arena a;
        qn_status rc;

        qn_arena_init(&a, 256);
        qn_mem_fail_at(n, false);
        rc = qn_proto_read(&text, 1, &a, &proto, &err);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        if (rc == QN_OK)
            is_done = qn_proto_json(proto, record, &room, &out, &fault) && !out.failed;
        qn_mem_fail_at(0, false);
        qn_buf_fini(&room);
        qn_buf_fini(&out);
        qn_arena_fini(&a);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_known),
        cmocka_unit_test(test_depth),  cmocka_unit_test(test_schemas),
        cmocka_unit_test(test_files),  cmocka_unit_test(test_no_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
