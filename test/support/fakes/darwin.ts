/*
 * Preloaded (`node --import`): this process takes its machine for a Mac. Only what asks for the platform
 * changes, so it needs a PATH with doubles of the Mac's programs.
 */
Object.defineProperty(process, "platform", { value: "darwin" });
