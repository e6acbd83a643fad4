import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import { DatabaseSync } from "node:sqlite";

// The baseline of bench/webhook.ts, with the same duties: it checks the signature, and answers once the delivery is on disk;
// deliveries of one turn of the event loop share a commit. Usage: bare-webhook.ts FILE SECRET

const [, , file = "", secret = ""] = process.argv;
const db = new DatabaseSync(file);
db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE received (signature TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID`);
const insert = db.prepare("INSERT INTO received VALUES (?, ?) ON CONFLICT DO NOTHING");
interface Waiting {
  readonly signature: string;
  readonly body: string;
  readonly response: ServerResponse;
}
let waiting: Waiting[] = [];

function commit(): void {
  const group = waiting;
  waiting = [];
  db.exec("BEGIN IMMEDIATE");
  for (const { signature, body } of group) insert.run(signature, body);
  db.exec("COMMIT");
  for (const { response } of group) {
    response.setHeader("content-type", "application/json");
    response.end('{"accepted":true,"duplicate":false}');
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const right = createHmac("sha256", secret).update(body).digest();
    const given = Buffer.from(String(request.headers["linear-signature"]), "hex");
    if (given.length !== right.length || !timingSafeEqual(given, right)) {
      response.writeHead(401).end();
      return;
    }
    if (waiting.length === 0) setImmediate(commit);
    waiting.push({ signature: right.toString("hex"), body: body.toString(), response });
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object") process.send?.(`http://127.0.0.1:${address?.port}`);
});
process.on("disconnect", () => process.exit());
