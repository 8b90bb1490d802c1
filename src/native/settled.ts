/**
 * What the addon promised; a failure gets the stack of whoever awaits it. Taking the caller's at every call would cost each step
 * several microseconds.
 */
export async function settled(promise: Promise<void>): Promise<void> {
  try {
    await promise;
  } catch (error) {
    Error.captureStackTrace(error as Error, settled);
    throw error;
  }
}
