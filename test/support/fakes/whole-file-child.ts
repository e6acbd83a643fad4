import { keepCopy, writeWhole } from "../../../src/commands/whole-file.ts";
import { arm } from "./die-at-step.ts";

// Replaces the file argv[2] by the text argv[3], with a copy of it; preloaded with die-at-step.ts, it may be killed before.

const [, , file = "", text = ""] = process.argv;
arm();
await keepCopy(file);
await writeWhole(file, text, { mode: 0o644 });
