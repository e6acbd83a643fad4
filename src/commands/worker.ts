import { SymphonyError } from "../core/model/errors.ts";
import { row } from "./table.ts";

const namePattern = /^[\w.-]{1,63}$/;
const labelPattern = /^[\w.-]{1,63}$/;
const maxCapacity = 500;

/** Makes this machine a worker of a fleet, until it is stopped. */
export const workerCommand = row({
  examples: [
    "SYMPHONY_WORKER_TOKEN=swt_… symphony worker --join redis://10.0.0.5   at first",
    "symphony worker --join redis://10.0.0.5   afterwards",
    "symphony worker --join '$FLEET_URL' --label gpu   a URL with a password",
  ],
  options: [
    {
      name: "join",
      value: "url",
      summary: "the engine of the fleet, or $NAME of a variable that holds its URL",
      required: true,
    },
    {
      name: "name",
      value: "name",
      summary: "what the worker is called (default: the name of this machine)",
      read: (text: string, flag: string) => fitting(text, namePattern, flag),
    },
    {
      name: "label",
      value: "name",
      summary: "what this machine offers, such as gpu; repeatable",
      repeats: true,
      read: (text: string, flag: string) => fitting(text, labelPattern, flag),
    },
    {
      name: "capacity",
      value: "n",
      summary: "attempts at the same time (default: one for each CPU)",
      read: capacityOf,
    },
    {
      name: "dir",
      value: "path",
      summary: "the worker's own directory (default: ~/.symphony/workers/NAME)",
      completion: "directories",
    },
  ],
  inputErrors: ["invalid_config"],
  stream: (given, context) =>
    import("./worker-process.ts").then(({ workerProcess }) => workerProcess(given, context)),
});

function fitting(text: string, pattern: RegExp, flag: string): string {
  if (pattern.test(text)) return text;
  throw new SymphonyError("usage", `${flag} takes letters, digits, ., - and _, at most 63`, {
    hint: `${flag} build-1`,
  });
}

function capacityOf(text: string, flag: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= maxCapacity) return count;
  throw new SymphonyError("usage", `${flag}: "${text}" is not a number from 1 to ${maxCapacity}`, {
    hint: `${flag} 4`,
  });
}
