/** The debugger's type and the language of run documents: shared with the manifest. */
export const DEBUG_TYPE = 'teleport-env';
export const RUN_LANGUAGE = 'teleport-env-run';
