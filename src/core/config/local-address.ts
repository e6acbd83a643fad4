import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isGitAddress, isLocalPath, parseGitAddress } from "./git.ts";

/**
 * The address that a workflow file names, as the rest of core reads it: a path is relative to `directory`, that of the
 * workflow file, or to `home`, and one with blanks becomes its URL. Any other address is unchanged.
 */
export function absoluteAddress(
  written: string,
  { directory, home }: { readonly directory: string; readonly home: string },
): string {
  if (!isLocalPath(written)) return written;
  if (written.startsWith("/")) return pathAddress(written);
  const isHome = written.startsWith("~");
  return pathAddress(isHome ? join(home, written.slice(1)) : resolve(directory, written));
}

/** The address of the repository at an absolute path: the path itself, or its URL where the path has blanks. */
export function pathAddress(path: string): string {
  return isGitAddress(parseGitAddress(path)) ? path : pathToFileURL(path).href;
}
