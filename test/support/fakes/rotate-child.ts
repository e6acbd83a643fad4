import { systemClock } from "../../../src/core/clock.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { arm } from "./die-at-step.ts";

// Rotates the key of the store in argv[2]; preloaded with die-at-step.ts, it may be killed before it finishes.

const dir = process.argv[2] ?? "";
const redactor = createRedactor();
const secrets = await openSecrets({ dir, env: process.env, clock: systemClock, redactor });
arm();
await secrets.rotate();
