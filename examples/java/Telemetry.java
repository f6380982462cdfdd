import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.NativeLong;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;

/**
 * Appends readings to a log from Java, through JNA and the shared library of forebay.
 *
 * <pre>
 *   mvn -f examples/java/pom.xml package
 *   java -cp examples/java/target/classes:examples/java/target/classes/jna.jar Telemetry DIRECTORY [READINGS]
 * </pre>
 *
 * -Djna.library.path names the directory of libforebay.so if it is not installed. What each function
 * does stands in include/forebay.h.
 */
public final class Telemetry {
  /** The functions that are used here. size_t is as wide as a pointer: NativeLong on Linux. */
  public interface Forebay extends Library {
    int forebay_version_number();

    String forebay_last_error();

    int forebay_log_open(Bytes.ByValue dir, Pointer options, PointerByReference logOut);

    int forebay_log_append_record(Pointer log, NewRecord record, LongByReference offsetOut);

    int forebay_log_flush(Pointer log, LongByReference durableOut);

    int forebay_log_close(Pointer log);
  }

  /** forebay_bytes: what it points to lives as long as it does. */
  @Structure.FieldOrder({"data", "len"})
  public static class Bytes extends Structure {
    public Pointer data;
    public NativeLong len = new NativeLong(0);

    /** As it is passed to functions. */
    public static final class ByValue extends Bytes implements Structure.ByValue {}

    /** Null: no bytes at all, as of a record without a key. */
    void set(byte[] bytes) {
      if (bytes == null) {
        return;
      }
      Memory memory = new Memory(Math.max(bytes.length, 1));
      memory.write(0, bytes, 0, bytes.length);
      data = memory;
      len = new NativeLong(bytes.length);
    }
  }

  /** forebay_new_record. */
  @Structure.FieldOrder({
    "key", "value", "headers", "headerCount", "timestampMs", "flags", "reservedFlags", "reserved"
  })
  public static final class NewRecord extends Structure {
    public Bytes key = new Bytes();
    public Bytes value = new Bytes();
    public Pointer headers;
    public NativeLong headerCount = new NativeLong(0);
    public long timestampMs;
    public int flags;
    public int reservedFlags;
    public long[] reserved = new long[2];
  }

  /** A failure: the status is what programs go by, the text says what to do. */
  public static final class ForebayException extends RuntimeException {
    private static final long serialVersionUID = 1;
    public final int status;

    ForebayException(int status, String text) {
      super(text);
      this.status = status;
    }
  }

  /** A log, to be appended to by any number of threads. */
  public static final class Log implements AutoCloseable {
    private final Forebay library;
    private final Pointer log;
    private boolean closed;

    public Log(Forebay library, String directory) {
      this.library = library;
      Bytes.ByValue dir = new Bytes.ByValue();
      dir.set(directory.getBytes(StandardCharsets.UTF_8));
      PointerByReference out = new PointerByReference();
      check(library.forebay_log_open(dir, null, out));
      log = out.getValue();
    }

    /** Appends one record, with a key or without (null), and returns its offset. */
    public long append(byte[] key, byte[] value, long timestampMs) {
      NewRecord record = new NewRecord();
      record.key.set(key);
      record.value.set(value);
      record.timestampMs = timestampMs;
      LongByReference offset = new LongByReference();
      check(library.forebay_log_append_record(log, record, offset));
      return offset.getValue();
    }

    /** From here on a power cut takes nothing of what was appended. */
    public long flush() {
      LongByReference durable = new LongByReference();
      check(library.forebay_log_flush(log, durable));
      return durable.getValue();
    }

    /** Makes everything durable, and says so. */
    @Override
    public void close() {
      if (!closed) {
        closed = true;
        check(library.forebay_log_close(log));
      }
    }

    /** The text is this thread's, and gone with its next call; JNA copies it. */
    private void check(int status) {
      if (status != 0) {
        throw new ForebayException(status, library.forebay_last_error());
      }
    }
  }

  private Telemetry() {}

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  public static void main(String[] args) {
    if (args.length < 1 || args.length > 2) {
      System.err.println("usage: Telemetry DIRECTORY [READINGS]");
      System.exit(2);
    }
    int readings = args.length == 2 ? Integer.parseInt(args[1]) : 10;
    Forebay library = Native.load("forebay", Forebay.class);
    // Before 1.0 another minor version may have other structs.
    if (library.forebay_version_number() / 1000 != 1) {
      System.err.println("the library is another version than 0.1, which this was written for");
      System.exit(1);
    }
    try (Log log = new Log(library, args[0])) {
      for (int count = 0; count < readings; count++) {
        byte[] key = count % 3 == 2 ? null : bytes("sensor " + count % 3);
        log.append(key, bytes("reading " + count), 1_700_000_000_000L + count);
      }
      System.out.println(log.flush() + " records are durable");
    } catch (ForebayException error) {
      System.err.println(args[0] + ": " + error.getMessage() + " (" + error.status + ")");
      System.exit(1);
    }
  }
}
