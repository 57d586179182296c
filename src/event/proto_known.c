/* SPDX-License-Identifier: Apache-2.0
 * proto_known.c - the files that everybody may import without giving them, and what becomes of
 * their messages as JSON. See proto.h.
 *
 * Only what a record can hold is here: files for options and services alone (descriptor.proto) need
 * not be there. Names, numbers and types are those of Protocol Buffers' and Google's common types
 * and of Confluent's. A message counts as known by name and form together, so that another one of
 * that name stays an object. Thread: any; no state. */
#include "event/proto_int.h"

#define PROTO3              "syntax=\"proto3\";package google.protobuf;"
#define TYPE                "syntax=\"proto3\";package google.type;"
#define WRAPPER(name, type) "message " name "{" type " value=1;}"

static const struct {
    const char *file, *defines, *text;
} files[] = {
    {"google/protobuf/any.proto", "google.protobuf.Any",
     PROTO3 "message Any{string type_url=1;bytes value=2;}"},
    {"google/protobuf/api.proto", "google.protobuf.Api",
     PROTO3 "import \"google/protobuf/source_context.proto\";"
            "import \"google/protobuf/type.proto\";"
            "message Api{string name=1;repeated Method methods=2;repeated Option options=3;"
            "string version=4;SourceContext source_context=5;repeated Mixin mixins=6;"
            "Syntax syntax=7;string edition=8;}"
            "message Method{string name=1;string request_type_url=2;bool request_streaming=3;"
            "string response_type_url=4;bool response_streaming=5;repeated Option options=6;"
            "Syntax syntax=7;string edition=8;}"
            "message Mixin{string name=1;string root=2;}"},
    {"google/protobuf/duration.proto", "google.protobuf.Duration",
     PROTO3 "message Duration{int64 seconds=1;int32 nanos=2;}"},
    {"google/protobuf/empty.proto", "google.protobuf.Empty", PROTO3 "message Empty{}"},
    {"google/protobuf/field_mask.proto", "google.protobuf.FieldMask",
     PROTO3 "message FieldMask{repeated string paths=1;}"},
    {"google/protobuf/source_context.proto", "google.protobuf.SourceContext",
     PROTO3 "message SourceContext{string file_name=1;}"},
    {"google/protobuf/struct.proto", "google.protobuf.Struct",
     PROTO3
     "message Struct{map<string,Value> fields=1;}"
     "message Value{oneof kind{NullValue null_value=1;double number_value=2;"
     "string string_value=3;bool bool_value=4;Struct struct_value=5;ListValue list_value=6;}}"
     "enum NullValue{NULL_VALUE=0;}message ListValue{repeated Value values=1;}"},
    {"google/protobuf/timestamp.proto", "google.protobuf.Timestamp",
     PROTO3 "message Timestamp{int64 seconds=1;int32 nanos=2;}"},
    {"google/protobuf/type.proto", "google.protobuf.Type",
     PROTO3 "import \"google/protobuf/any.proto\";"
            "import \"google/protobuf/source_context.proto\";"
            "message Type{string name=1;repeated Field fields=2;repeated string oneofs=3;"
            "repeated Option options=4;SourceContext source_context=5;Syntax syntax=6;"
            "string edition=7;}"
            "message Field{enum Kind{TYPE_UNKNOWN=0;TYPE_DOUBLE=1;TYPE_FLOAT=2;TYPE_INT64=3;"
            "TYPE_UINT64=4;TYPE_INT32=5;TYPE_FIXED64=6;TYPE_FIXED32=7;TYPE_BOOL=8;TYPE_STRING=9;"
            "TYPE_GROUP=10;TYPE_MESSAGE=11;TYPE_BYTES=12;TYPE_UINT32=13;TYPE_ENUM=14;"
            "TYPE_SFIXED32=15;TYPE_SFIXED64=16;TYPE_SINT32=17;TYPE_SINT64=18;}"
            "enum Cardinality{CARDINALITY_UNKNOWN=0;CARDINALITY_OPTIONAL=1;CARDINALITY_REQUIRED=2;"
            "CARDINALITY_REPEATED=3;}Kind kind=1;Cardinality cardinality=2;int32 number=3;"
            "string name=4;string type_url=6;int32 oneof_index=7;bool packed=8;"
            "repeated Option options=9;string json_name=10;string default_value=11;}"
            "message Enum{string name=1;repeated EnumValue enumvalue=2;repeated Option options=3;"
            "SourceContext source_context=4;Syntax syntax=5;string edition=6;}"
            "message EnumValue{string name=1;int32 number=2;repeated Option options=3;}"
            "message Option{string name=1;Any value=2;}"
            "enum Syntax{SYNTAX_PROTO2=0;SYNTAX_PROTO3=1;SYNTAX_EDITIONS=2;}"},
    {"google/protobuf/wrappers.proto", "google.protobuf.DoubleValue",
     PROTO3 WRAPPER("DoubleValue", "double") WRAPPER("FloatValue", "float") WRAPPER(
         "Int64Value", "int64") WRAPPER("UInt64Value", "uint64") WRAPPER("Int32Value", "int32")
         WRAPPER("UInt32Value", "uint32") WRAPPER("BoolValue", "bool")
             WRAPPER("StringValue", "string") WRAPPER("BytesValue", "bytes")},
    {"confluent/type/decimal.proto", "confluent.type.Decimal",
     "syntax=\"proto3\";package confluent.type;"
     "message Decimal{bytes value=1;uint32 precision=2;int32 scale=3;}"},
    {"confluent/types/decimal.proto", "confluent.type.Decimal",
     "syntax=\"proto3\";import public \"confluent/type/decimal.proto\";"},
    {"google/type/calendar_period.proto", "google.type.CalendarPeriod",
     TYPE "enum CalendarPeriod{CALENDAR_PERIOD_UNSPECIFIED=0;DAY=1;WEEK=2;FORTNIGHT=3;MONTH=4;"
          "QUARTER=5;HALF=6;YEAR=7;}"},
    {"google/type/color.proto", "google.type.Color",
     TYPE "import \"google/protobuf/wrappers.proto\";"
          "message Color{float red=1;float green=2;float blue=3;"
          "google.protobuf.FloatValue alpha=4;}"},
    {"google/type/date.proto", "google.type.Date",
     TYPE "message Date{int32 year=1;int32 month=2;int32 day=3;}"},
    {"google/type/datetime.proto", "google.type.DateTime",
     TYPE "import \"google/protobuf/duration.proto\";"
          "message DateTime{int32 year=1;int32 month=2;int32 day=3;int32 hours=4;int32 minutes=5;"
          "int32 seconds=6;int32 nanos=7;oneof time_offset{google.protobuf.Duration utc_offset=8;"
          "TimeZone time_zone=9;}}message TimeZone{string id=1;string version=2;}"},
    {"google/type/dayofweek.proto", "google.type.DayOfWeek",
     TYPE "enum DayOfWeek{DAY_OF_WEEK_UNSPECIFIED=0;MONDAY=1;TUESDAY=2;WEDNESDAY=3;THURSDAY=4;"
          "FRIDAY=5;SATURDAY=6;SUNDAY=7;}"},
    {"google/type/decimal.proto", "google.type.Decimal", TYPE "message Decimal{string value=1;}"},
    {"google/type/expr.proto", "google.type.Expr",
     TYPE "message Expr{string expression=1;string title=2;string description=3;"
          "string location=4;}"},
    {"google/type/fraction.proto", "google.type.Fraction",
     TYPE "message Fraction{int64 numerator=1;int64 denominator=2;}"},
    {"google/type/interval.proto", "google.type.Interval",
     TYPE "import \"google/protobuf/timestamp.proto\";"
          "message Interval{google.protobuf.Timestamp start_time=1;"
          "google.protobuf.Timestamp end_time=2;}"},
    {"google/type/latlng.proto", "google.type.LatLng",
     TYPE "message LatLng{double latitude=1;double longitude=2;}"},
    {"google/type/localized_text.proto", "google.type.LocalizedText",
     TYPE "message LocalizedText{string text=1;string language_code=2;}"},
    {"google/type/money.proto", "google.type.Money",
     TYPE "message Money{string currency_code=1;int64 units=2;int32 nanos=3;}"},
    {"google/type/month.proto", "google.type.Month",
     TYPE "enum Month{MONTH_UNSPECIFIED=0;JANUARY=1;FEBRUARY=2;MARCH=3;APRIL=4;MAY=5;JUNE=6;"
          "JULY=7;AUGUST=8;SEPTEMBER=9;OCTOBER=10;NOVEMBER=11;DECEMBER=12;}"},
    {"google/type/phone_number.proto", "google.type.PhoneNumber",
     TYPE "message PhoneNumber{message ShortCode{string region_code=1;string number=2;}"
          "oneof kind{string e164_number=1;ShortCode short_code=2;}string extension=3;}"},
    {"google/type/postal_address.proto", "google.type.PostalAddress",
     TYPE "message PostalAddress{int32 revision=1;string region_code=2;string language_code=3;"
          "string postal_code=4;string sorting_code=5;string administrative_area=6;"
          "string locality=7;string sublocality=8;repeated string address_lines=9;"
          "repeated string recipients=10;string organization=11;}"},
    {"google/type/quaternion.proto", "google.type.Quaternion",
     TYPE "message Quaternion{double x=1;double y=2;double z=3;double w=4;}"},
    {"google/type/timeofday.proto", "google.type.TimeOfDay",
     TYPE "message TimeOfDay{int32 hours=1;int32 minutes=2;int32 seconds=3;int32 nanos=4;}"},
};

const char *qn_proto_known_text(struct qn_str file, const char **defines)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (qn_str_is(file, files[i].file)) {
            *defines = files[i].defines;
            return files[i].text;
        }
    return NULL;
}

/* Fields by their numbers from 1 on; kinds end with NAMED. */
static const struct {
    const char *name;
    enum qn_proto_known known;
    bool is_repeated;
    enum qn_proto_kind kinds[8];
} messages[] = {
    {"google.protobuf.Timestamp", QN_PROTO_TIMESTAMP, false, {QN_PROTO_INT64, QN_PROTO_INT32}},
    {"google.protobuf.Duration", QN_PROTO_DURATION, false, {QN_PROTO_INT64, QN_PROTO_INT32}},
    {"google.protobuf.DoubleValue", QN_PROTO_CONTENT, false, {QN_PROTO_DOUBLE}},
    {"google.protobuf.FloatValue", QN_PROTO_CONTENT, false, {QN_PROTO_FLOAT}},
    {"google.protobuf.Int64Value", QN_PROTO_CONTENT, false, {QN_PROTO_INT64}},
    {"google.protobuf.UInt64Value", QN_PROTO_CONTENT, false, {QN_PROTO_UINT64}},
    {"google.protobuf.Int32Value", QN_PROTO_CONTENT, false, {QN_PROTO_INT32}},
    {"google.protobuf.UInt32Value", QN_PROTO_CONTENT, false, {QN_PROTO_UINT32}},
    {"google.protobuf.BoolValue", QN_PROTO_CONTENT, false, {QN_PROTO_BOOL}},
    {"google.protobuf.StringValue", QN_PROTO_CONTENT, false, {QN_PROTO_STRING}},
    {"google.protobuf.BytesValue", QN_PROTO_CONTENT, false, {QN_PROTO_BYTES}},
    {"google.protobuf.Struct", QN_PROTO_CONTENT, true, {QN_PROTO_MESSAGE}},
    {"google.protobuf.ListValue", QN_PROTO_CONTENT, true, {QN_PROTO_MESSAGE}},
    {"google.protobuf.Value",
     QN_PROTO_VALUE,
     false,
     {QN_PROTO_ENUM, QN_PROTO_DOUBLE, QN_PROTO_STRING, QN_PROTO_BOOL, QN_PROTO_MESSAGE,
      QN_PROTO_MESSAGE}},
    {"confluent.type.Decimal",
     QN_PROTO_DECIMAL,
     false,
     {QN_PROTO_BYTES, QN_PROTO_UINT32, QN_PROTO_INT32}},
    {"google.type.Decimal", QN_PROTO_DECIMAL_TEXT, false, {QN_PROTO_STRING}},
};

enum qn_proto_known qn_proto_known_of(const struct qn_proto_message *m)
{
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        uint32_t n = 0;

        if (m->is_entry || !qn_str_is(m->name, messages[i].name))
            continue;
        while (messages[i].kinds[n] != QN_PROTO_NAMED && n < m->count &&
               m->fields[n].number == n + 1 && m->fields[n].kind == messages[i].kinds[n] &&
               m->fields[n].is_repeated == messages[i].is_repeated)
            n++;
        return n == m->count && messages[i].kinds[n] == QN_PROTO_NAMED ? messages[i].known
                                                                       : QN_PROTO_PLAIN;
    }
    return QN_PROTO_PLAIN;
}
