/** By name: a bundle that is in parts knows no names of a CommonJS package that is imported by a call. */
export { Language, Parser } from 'web-tree-sitter';
