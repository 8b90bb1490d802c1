import type { FilterTable } from "./filter";
import { numberFilters } from "./numbers";
import { sequenceFilters } from "./sequences";
import { textFilters } from "./text";

export const filterTable: FilterTable = { ...textFilters, ...numberFilters, ...sequenceFilters };

/** Filters of Jinja that are not implemented. */
export const unsupportedFilters = new Set(["pprint", "random", "urlize", "wordwrap"]);
