import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Writable } from "node:stream";
import type { LogSink } from "./logger.ts";

const maxWaitingBytes = 1024 * 1024;

/** Lines to a stream such as stderr; a reader that is gone or slow costs lines, never memory or the process. */
export function streamSink(name: string, stream: Writable): LogSink {
  let failure: Error | null = null;
  stream.on("error", (error) => {
    failure = error;
  });
  return {
    name,
    write(line) {
      // A pipe or terminal that failed once stays gone.
      if (failure) throw failure;
      if (stream.writableLength > maxWaitingBytes) throw new Error("nobody reads it");
      stream.write(line);
    },
  };
}

interface RotatingOptions {
  readonly file: string;
  /** Default 10 MiB. */
  readonly maxBytes?: number;
  /** How many files there are at most, the current one included. Default 5. */
  readonly files?: number;
}

/** Lines to `file` (0600), then `file.1`, … (requirement G-5). A file removed or moved by others is made anew. */
export function rotatingFileSink(options: RotatingOptions): LogSink & { close(): void } {
  return new RotatingFile(options.file, options.maxBytes ?? 10 * 1024 * 1024, options.files ?? 5);
}

class RotatingFile implements LogSink {
  readonly name: string;
  readonly #maxBytes: number;
  readonly #files: number;
  #fd: number | null = null;
  #size = 0;
  /** The disk took only a part of the last line. */
  #torn = false;

  constructor(file: string, maxBytes: number, files: number) {
    this.name = file;
    this.#maxBytes = maxBytes;
    this.#files = files;
  }

  write(line: string): void {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line, "utf8");
    if (this.#fd !== null && !this.#isStillThere(this.#fd)) this.close();
    let fd = this.#fd ?? this.#open();
    if (this.#size > 0 && this.#size + bytes.length > this.#maxBytes) {
      this.#rotate();
      fd = this.#open();
    }
    const written = writeSync(fd, bytes);
    this.#size += written;
    this.#torn = written < bytes.length;
    if (this.#torn) throw new Error("the disk took only a part of a line");
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #open(): number {
    mkdirSync(dirname(this.name), { recursive: true, mode: 0o700 });
    const fd = openSync(this.name, "a", 0o600);
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
    return fd;
  }

  #isStillThere(fd: number): boolean {
    const named = statSync(this.name, { throwIfNoEntry: false });
    return named !== undefined && named.ino === fstatSync(fd).ino;
  }

  #rotate(): void {
    this.close();
    if (this.#files < 2) rmSync(this.name, { force: true });
    for (let number = this.#files - 1; number > 0; number--) {
      const from = number === 1 ? this.name : `${this.name}.${number - 1}`;
      if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${this.name}.${number}`);
    }
    this.#torn = false;
  }
}
