// SPDX-License-Identifier: Apache-2.0
// Driver for pushy: one client with as many connections; a semaphore keeps the requests in flight. The contract: README.md
// two folders up.
import com.eatthepath.pushy.apns.ApnsClient;
import com.eatthepath.pushy.apns.ApnsClientBuilder;
import com.eatthepath.pushy.apns.DeliveryPriority;
import com.eatthepath.pushy.apns.PushType;
import com.eatthepath.pushy.apns.util.SimpleApnsPushNotification;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;

public final class PushyDriver {
  private static Map<String, String> options(String[] words) {
    final Map<String, String> options = new HashMap<>();
    for (int i = 0; i + 1 < words.length; i += 2) options.put(words[i].substring(2), words[i + 1]);
    return options;
  }

  private static PrivateKey key(String path) throws Exception {
    final String pem = Files.readString(Path.of(path)).replaceAll("-----[^-]+-----", "").replaceAll("\\s", "");
    return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
  }

  private static X509Certificate certificate(String path) throws Exception {
    try (InputStream in = new FileInputStream(path)) {
      return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
    }
  }

  public static void main(String[] words) throws Exception {
    final Map<String, String> given = options(words);
    final String endpoint = given.get("endpoint");
    final int colon = endpoint.lastIndexOf(':');
    final int requests = Integer.parseInt(given.get("requests"));
    final int connections = Integer.parseInt(given.get("connections"));
    final int streams = Integer.parseInt(given.get("streams"));
    final List<String> tokens = Files.readAllLines(Path.of(given.get("tokens")));
    final String payload = Files.readString(Path.of(given.get("payload")));
    final String topic = given.get("topic");

    final ApnsClient client = new ApnsClientBuilder()
        .setApnsServer(endpoint.substring(0, colon), Integer.parseInt(endpoint.substring(colon + 1)))
        .setClientCredentials(certificate(given.get("cert")), key(given.get("key")), null)
        .setTrustedServerCertificateChain(new File(given.get("ca")))
        .setConcurrentConnections(connections)
        .setUseAlpn(true)
        .build();

    final Semaphore inFlight = new Semaphore(connections * streams);
    final AtomicInteger accepted = new AtomicInteger();
    final AtomicReference<Throwable> failure = new AtomicReference<>();
    for (int number = 0; number < requests; ++number) {
      inFlight.acquire();
      client.sendNotification(new SimpleApnsPushNotification(tokens.get(number % tokens.size()), topic, payload, null,
              DeliveryPriority.IMMEDIATE, PushType.MDM))
          .whenComplete((response, cause) -> {
            if (cause != null) failure.compareAndSet(null, cause);
            else if (response.isAccepted()) accepted.incrementAndGet();
            inFlight.release();
          });
    }
    inFlight.acquire(connections * streams);
    client.close().get();
    if (failure.get() != null) {
      System.err.println("pushy-driver: " + failure.get());
      System.exit(1);
    }
    System.out.println("{\"accepted\":" + accepted.get() + ",\"cipher\":null}");
    System.exit(0);
  }
}
