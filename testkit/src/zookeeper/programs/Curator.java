import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.retry.RetryOneTime;

/**
 * Curator's locks, by lines on standard input: "acquire KIND" and "release KIND" with KIND one of mutex, read and write,
 * answered by "acquired KIND" and "released KIND"; "count FILE N" adds one to the number in a file, N times, under the
 * mutex, and is answered by "counted". Ends when its input does.
 */
public class Curator {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
            .connectString(args[0])
            .sessionTimeoutMs(Integer.parseInt(args[2]))
            .retryPolicy(new RetryOneTime(100))
            .build();
        client.start();
        InterProcessMutex mutex = new InterProcessMutex(client, args[1]);
        InterProcessReadWriteLock both = new InterProcessReadWriteLock(client, args[1]);
        System.out.println("ready");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("count")) {
                for (int i = 0; i < Integer.parseInt(words[2]); i++) {
                    mutex.acquire();
                    Path file = Path.of(words[1]);
                    long count = Long.parseLong(Files.readString(file).trim());
                    Thread.yield();
                    Files.writeString(file, Long.toString(count + 1));
                    mutex.release();
                }
                System.out.println("counted");
                continue;
            }
            InterProcessLock lock =
                words[1].equals("mutex") ? mutex : words[1].equals("read") ? both.readLock() : both.writeLock();
            if (words[0].equals("acquire")) {
                lock.acquire();
                System.out.println("acquired " + words[1]);
            } else {
                lock.release();
                System.out.println("released " + words[1]);
            }
        }
        client.close();
    }
}
