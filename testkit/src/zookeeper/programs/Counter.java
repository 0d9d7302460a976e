import java.io.File;
import org.apache.zookeeper.server.DataNode;
import org.apache.zookeeper.server.DataTree;
import org.apache.zookeeper.server.persistence.FileTxnSnapLog;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Sets the count of the children that a node has ever had, in the data of a server that is stopped: FOLDER PATH COUNT.
 * The next child with a number gets this one.
 */
public class Counter {
    public static void main(String[] args) throws Exception {
        File folder = new File(args[0]);
        FileTxnSnapLog log = new FileTxnSnapLog(folder, folder);
        DataTree tree = new DataTree();
        ConcurrentHashMap<Long, Integer> sessions = new ConcurrentHashMap<>();
        log.restore(tree, sessions, (header, record, digest) -> { });
        DataNode node = tree.getNode(args[1]);
        synchronized (node) {
            node.stat.setCversion(Integer.parseInt(args[2]));
        }
        log.save(tree, sessions, true);
        log.close();
    }
}
