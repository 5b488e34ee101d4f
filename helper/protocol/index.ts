export * from './bridge.ts';
export * from './errors.ts';
export * from './ids.ts';
export * from './methods.ts';
export * from './model.ts';
