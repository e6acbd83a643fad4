/** Keys of the configuration that a running server takes over only at its next start. */
export const needsRestart: readonly string[] = ["server.auth", "server.host", "server.port"];
