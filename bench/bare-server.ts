import { createServer } from "node:http";

// The baseline of bench/http.ts: answers each path with the bytes it was given.

const bodies = new Map<string, Buffer>();

const server = createServer((request, response) => {
  const path = request.url ?? "/";
  if (request.method === "GET") {
    response.setHeader("content-type", "application/json");
    response.end(bodies.get(path) ?? "{}");
    return;
  }
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    if (request.method === "PUT") bodies.set(path, body);
    response.setHeader("content-type", "application/json");
    response.end('{"accepted":true,"duplicate":false}');
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object") process.send?.(`http://127.0.0.1:${address?.port}`);
});
process.on("disconnect", () => process.exit());
