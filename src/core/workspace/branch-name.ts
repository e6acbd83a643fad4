const longestName = 200;
const commitLike = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/** What git itself allows in a branch's name (git-check-ref-format), as far as paths and output are concerned. */
export function isRefName(name: string): boolean {
  if (name.length > 255) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
  if (/[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/$|\.$/.test(name)) return false;
  return name.split("/").every((part) => !part.startsWith(".") && !part.endsWith(".lock"));
}

/** Whether a branch of this name can be asked for on a command line: it is no option and no path of refs. */
export function isBaseName(name: string): boolean {
  if (name === "" || name === "@" || name === "HEAD" || commitLike.test(name)) return false;
  return isRefName(name) && !/^(?:[-/]|refs\/)/.test(name);
}

/** Whether symphony makes a branch of this name: plain letters, and nothing that a shell or git could take for more. */
export function isBranchName(name: string): boolean {
  const plain = /^[A-Za-z0-9_][A-Za-z0-9_./+-]*$/.test(name);
  return plain && name.length <= longestName && isBaseName(name);
}
