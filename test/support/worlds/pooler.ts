import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * A pooler before a PostgreSQL, as pgbouncer in transaction mode: a client has a session only for each transaction, and what
 * was used last is given away first.
 */
export class Pooler implements AsyncDisposable {
  readonly #target: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #idle: Session[] = [];

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((client) => void this.#serve(client));
  }

  /** `target`: the port of the PostgreSQL, which asks for no password. */
  static async start(target: number): Promise<Pooler> {
    const pooler = new Pooler(target);
    pooler.#server.listen(0, "127.0.0.1");
    await once(pooler.#server, "listening");
    return pooler;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #serve(client: Socket): void {
    this.#keep(client);
    let startup: Buffer | null = null;
    let session: Session | null = null;
    messages(client, true, (message) => {
      // What begins a session has no type.
      if (startup === null) {
        startup = message;
        session = this.#session(message);
      } else if (message[0] === "X".charCodeAt(0)) {
        client.end();
        return;
      } else {
        session ??= this.#idle.pop() ?? this.#session(startup, true);
        session.socket.write(message);
      }
      const used = session;
      used.to = (answer) => {
        client.write(answer);
        if (!isIdle(answer)) return;
        session = null;
        this.#idle.push(used);
      };
    });
  }

  /** `isFurther`: the client knows already that it may ask. */
  #session(startup: Buffer, isFurther = false): Session {
    const socket = connect(this.#target, "127.0.0.1");
    this.#keep(socket);
    const session: Session = { socket, to: () => {} };
    let isOpen = !isFurther;
    socket.write(startup);
    messages(socket, false, (answer) => {
      if (isOpen) session.to(answer);
      isOpen ||= isIdle(answer);
    });
    return session;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

interface Session {
  readonly socket: Socket;
  to: (answer: Buffer) => void;
}

/** Ready for the next query, and in no transaction. */
function isIdle(answer: Buffer): boolean {
  return answer.toString("latin1", 0, 1) === "Z" && answer.toString("latin1", 5, 6) === "I";
}

/** Each message of the protocol, which has its length after its type; the first one of a client has no type. */
function messages(socket: Socket, isClient: boolean, received: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  let head = isClient ? 0 : 1;
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= head + 4 && rest.length >= head + rest.readInt32BE(head)) {
      const end = head + rest.readInt32BE(head);
      const message = rest.subarray(0, end);
      rest = rest.subarray(end);
      head = 1;
      received(message);
    }
  });
}
