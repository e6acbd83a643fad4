import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";

// Sends requests that create an issue, each on a separate connection: PORT HOST HOW COUNT. Prints the statuses of the answers.

const [port = "", host = "", how = "", count = "1"] = process.argv.slice(2);

function request(title: string): string {
  const body = JSON.stringify({ title });
  return [
    "POST /api/v1/issues HTTP/1.1",
    "Host: 127.0.0.1",
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    `\r\n${body}`,
  ].join("\r\n");
}

/** How the sender ends its connection. */
const ways: Readonly<Record<string, (socket: Socket, name: string) => Promise<void>>> = {
  async reset(socket, name) {
    await sent(socket, request(name));
    socket.resetAndDestroy();
  },
  async close(socket, name) {
    await sent(socket, request(name));
    socket.destroy();
  },
  async half(socket, name) {
    socket.end(request(name));
    await printed(socket);
  },
  async wait(socket, name) {
    await sent(socket, request(name).replace("\r\n", "\r\nConnection: close\r\n"));
    await printed(socket);
  },
  async pipelined(socket, name) {
    const last = request(`${name} c`).replace("\r\n", "\r\nConnection: close\r\n");
    await sent(socket, request(`${name} a`) + request(`${name} b`) + last);
    await printed(socket);
  },
};

function sent(socket: Socket, data: string): Promise<void> {
  return new Promise((resolve) => void socket.write(data, () => resolve()));
}

async function printed(socket: Socket): Promise<void> {
  const answers = await text(socket);
  for (const [, status] of answers.matchAll(/HTTP\/1\.1 (\d+)/g))
    process.stdout.write(`${status}\n`);
}

for (let number = 0; number < Number(count); number += 1) {
  const socket = connect({ port: Number(port), host, allowHalfOpen: true });
  await once(socket, "connect");
  await ways[how]?.(socket, `${how} ${number}`);
}
