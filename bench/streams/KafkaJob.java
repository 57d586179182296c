// SPDX-License-Identifier: Apache-2.0
package peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.function.ToIntFunction;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of `./dev bench kafka` in Kafka Streams, with a broker: KafkaJob BROKERS IN OUT GUARANTEE COMMIT_MS FOREST
 * STATE_DIR. The windows are those of ../../shared/peers/java: one object per customer is a store's value, stores are
 * in memory with a changelog topic each, as is usual. FOREST: one node a line, see kafka.py.
 */
public class KafkaJob {
    static <T> Serde<T> serde(ToIntFunction<T> size, BiConsumer<T, ByteBuffer> write, Function<ByteBuffer, T> read) {
        return Serdes.serdeFrom(
            (topic, v) -> {
                if (v == null) return null;
                ByteBuffer b = ByteBuffer.allocate(size.applyAsInt(v));
                write.accept(v, b);
                return b.array();
            },
            (topic, d) -> d == null ? null : read.apply(ByteBuffer.wrap(d)));
    }

    static final Serde<CustomerWindow> CUSTOMER = serde(
        w -> 4 + 3 * 12 + 16 * w.len,
        (w, b) -> {
            int mask = w.time.length - 1;
            b.putInt(w.len);
            for (int i = 0; i < 3; i++) b.putInt(w.n[i]).putDouble(w.sum[i]);
            for (int i = 0; i < w.len; i++) {
                b.putLong(w.time[(w.head + i) & mask]).putDouble(w.amount[(w.head + i) & mask]);
            }
        },
        b -> {
            CustomerWindow w = new CustomerWindow();
            w.len = b.getInt();
            for (int i = 0; i < 3; i++) { w.n[i] = b.getInt(); w.sum[i] = b.getDouble(); }
            int room = Math.max(16, Integer.highestOneBit(w.len + 1) * 2);
            w.time = new long[room];
            w.amount = new double[room];
            for (int i = 0; i < w.len; i++) { w.time[i] = b.getLong(); w.amount[i] = b.getDouble(); }
            return w;
        });

    static final Serde<TerminalWindow> DELAYED = serde(
        w -> 16 + 3 * 8 + 9 * w.len,
        (w, b) -> {
            int mask = w.time.length - 1;
            b.putInt(w.len).putInt(w.pending).putLong(w.last);
            for (int i = 0; i < 3; i++) b.putInt(w.n[i]).putInt(w.frauds[i]);
            for (int i = 0; i < w.len; i++) {
                b.putLong(w.time[(w.head + i) & mask]).put((byte) (w.fraud[(w.head + i) & mask] ? 1 : 0));
            }
        },
        b -> {
            TerminalWindow w = new TerminalWindow();
            w.len = b.getInt();
            w.pending = b.getInt();
            w.last = b.getLong();
            for (int i = 0; i < 3; i++) { w.n[i] = b.getInt(); w.frauds[i] = b.getInt(); }
            int room = Math.max(16, Integer.highestOneBit(w.len + 1) * 2);
            w.time = new long[room];
            w.fraud = new boolean[room];
            for (int i = 0; i < w.len; i++) { w.time[i] = b.getLong(); w.fraud[i] = b.get() == 1; }
            return w;
        });

    /** Flat arrays; a child's number counts from the first node of all trees. */
    static final class Forest {
        final int[] root, feature, left, right;
        final float[] value;
        final float base;

        Forest(Path file) throws IOException {
            List<String> lines = Files.readAllLines(file);
            String[] head = lines.get(0).split(" ");
            int trees = Integer.parseInt(head[0]), nodes = Integer.parseInt(head[1]);
            base = Float.parseFloat(head[2]);
            root = new int[trees];
            feature = new int[nodes];
            left = new int[nodes];
            right = new int[nodes];
            value = new float[nodes];
            String[] roots = lines.get(1).split(" ");
            for (int i = 0; i < trees; i++) root[i] = Integer.parseInt(roots[i]);
            for (int i = 0; i < nodes; i++) {
                String[] w = lines.get(2 + i).split(" ");
                feature[i] = Integer.parseInt(w[0]);
                value[i] = Float.parseFloat(w[1]);
                left[i] = Integer.parseInt(w[2]);
                right[i] = Integer.parseInt(w[3]);
            }
        }

        float score(double[] f) {
            float[] x = new float[15];
            for (int i = 0; i < 15; i++) x[i] = (float) f[i];
            float sum = base;
            for (int r : root) {
                int i = r;
                while (feature[i] >= 0) i = x[feature[i]] < value[i] ? left[i] : right[i];
                sum += value[i];
            }
            return (float) (1 / (1 + Math.exp(-sum)));
        }
    }

    static final class Job implements Processor<String, byte[], String, byte[]> {
        final Forest forest;
        final ObjectReader reader = new ObjectMapper()
            .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false).readerFor(Event.class);
        final JsonFactory json = new JsonFactory();
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        ProcessorContext<String, byte[]> context;
        KeyValueStore<String, CustomerWindow> customers;
        KeyValueStore<String, TerminalWindow> delayed;

        Job(Forest forest) { this.forest = forest; }

        @Override
        public void init(ProcessorContext<String, byte[]> c) {
            context = c;
            customers = c.getStateStore("customer");
            delayed = c.getStateStore("delayed");
        }

        @Override
        public void process(Record<String, byte[]> r) {
            try {
                Event e = reader.readValue(r.value());
                e.calendar();
                CustomerWindow w = customers.get(r.key());
                if (w == null) w = new CustomerWindow();
                w.add(e.t, e.amount, e.features());
                customers.put(r.key(), w);
                TerminalWindow d = delayed.get(r.key());
                if (d == null) d = new TerminalWindow();
                d.add(e.t, e.tx_fraud, e.f);
                delayed.put(r.key(), d);
                out.reset();
                try (JsonGenerator g = json.createGenerator(out)) {
                    g.writeStartObject();
                    g.writeStringField("transaction_id", e.transaction_id);
                    g.writeNumberField("score", forest.score(e.f));
                    g.writeEndObject();
                }
                context.forward(r.withValue(out.toByteArray()));
            } catch (IOException x) {
                throw new UncheckedIOException(x);
            }
        }
    }

    public static void main(String[] a) throws Exception {
        Forest forest = new Forest(Path.of(a[5]));
        StreamsBuilder b = new StreamsBuilder();
        b.addStateStore(Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("customer"), Serdes.String(), CUSTOMER));
        b.addStateStore(Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("delayed"), Serdes.String(), DELAYED));
        b.stream(a[1], Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .process(() -> new Job(forest), "customer", "delayed")
            .to(a[2], Produced.with(Serdes.String(), Serdes.ByteArray()));
        Properties p = new Properties();
        p.put("application.id", a[1] + "-streams");
        p.put("bootstrap.servers", a[0]);
        p.put("state.dir", a[6]);
        p.put("processing.guarantee", a[3]);
        p.put("commit.interval.ms", a[4]);
        p.put("num.stream.threads", "2");
        p.put("producer.linger.ms", "1");
        p.put("producer.compression.type", "lz4");
        p.put("auto.offset.reset", "earliest");
        KafkaStreams streams = new KafkaStreams(b.build(), p);
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(java.time.Duration.ofSeconds(10));
            ended.countDown();
        }));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) System.err.println("running");
        });
        streams.start();
        ended.await();
    }
}
