//! Reproductions: one module a paper.
