import { fileURLToPath } from "node:url";

/**
 * The file that starts symphony. `npm test` (`test/run.js`) has it run the bundle of a package; the integration tests, and a test
 * file that is run by itself, start the sources.
 */
export const symphonyFile =
  process.env["BUILT_PROGRAM"] ??
  fileURLToPath(new URL("../../../bin/symphony.js", import.meta.url));
