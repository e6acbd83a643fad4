import { createHash } from "node:crypto";
import { SymphonyError } from "../model/errors.ts";

/** Leaves space in a file name of 255 bytes for a suffix after the key. */
const maxKeyChars = 200;
const safeKey = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
/** On a volume of macOS, names that differ in case alone are one name. */
const foldsCase = process.platform === "darwin";
/** The form of a key that was made from a changed identifier. */
const suffixed = /--[0-9a-f]{16}$/;

/**
 * The name of an issue's directory (requirements S-1, S-2). An identifier of `A-Z a-z 0-9 . _ -` is
 * its own key. In any other identifier, each other character becomes `_` and a hash of the original
 * is appended, so that distinct identifiers have distinct keys. The hash is also appended to an
 * identifier that begins with `.` or `-` or already looks hashed, and on macOS to one with small letters. Throws `invalid_issue_identifier`
 * for `.`, `..`, a blank or an overlong one (S-3).
 */
export function workspaceKey(identifier: string, folds = foldsCase): string {
  if (identifier.trim() === "" || identifier === "." || identifier === "..") {
    throw invalid("an issue identifier must not be blank, . or ..");
  }
  const key = isOwnKey(identifier, folds) ? identifier : hashedKey(identifier);
  if (key.length > maxKeyChars) {
    throw invalid(`an issue identifier must not be longer than ${maxKeyChars} characters`);
  }
  return key;
}

/**
 * Whether `name` can be a workspace's directory: never hidden, never a path to another directory.
 */
export function isWorkspaceKey(name: string): boolean {
  return safeKey.test(name) && name.length <= maxKeyChars;
}

function isOwnKey(identifier: string, folds: boolean): boolean {
  if (folds && /[a-z]/.test(identifier)) return false;
  return safeKey.test(identifier) && !suffixed.test(identifier);
}

function hashedKey(identifier: string): string {
  const kept = identifier.replaceAll(/[^A-Za-z0-9._-]/gu, "_").replace(/^[.-]/, "_");
  // Unpaired surrogates are all the same in UTF-8; JSON distinguishes them.
  const original = identifier.isWellFormed() ? identifier : JSON.stringify(identifier);
  const hash = createHash("sha256").update(original).digest("hex").slice(0, 16);
  return `${kept}--${hash}`;
}

function invalid(message: string): SymphonyError {
  return new SymphonyError("invalid_issue_identifier", message);
}
