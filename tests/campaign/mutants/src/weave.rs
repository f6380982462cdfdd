//! Weaves many mutations into one source text, each behind `crate::mutant::on(NUMBER)`.
//!
//! One build then serves all mutants, which is what makes a thousand of them take minutes. What is
//! woven evaluates operands once and in their order; an operator's other operand stays lazy.

use std::collections::HashMap;

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, BinOp, Block, Expr, ExprBinary, ExprUnary, parse_quote as quoted};

use crate::list::{Genre, Mutant, Place};

/// `source` with `mutants` (number and mutant, all of this file) in it, and the numbers that are.
pub fn weave(source: &str, mutants: &[(usize, &Mutant)]) -> (String, Vec<usize>) {
    let mut file = syn::parse_file(source).expect("the crate's sources are Rust");
    let mut at: HashMap<Place, Vec<(usize, &Mutant)>> = HashMap::new();
    for &(number, mutant) in mutants {
        at.entry(mutant.span.start).or_default().push((number, mutant));
    }
    let mut weaver = Weaver { at, woven: Vec::new() };
    weaver.visit_file_mut(&mut file);
    (prettyplease::unparse(&file), weaver.woven)
}

struct Weaver<'a> {
    at: HashMap<Place, Vec<(usize, &'a Mutant)>>,
    woven: Vec<usize>,
}

fn place(span: Span) -> Place {
    let LineColumn { line, column } = span.start();
    Place { line, column: column + 1 }
}

/// Whether a `let` of a condition is in it: such an operand is no expression by itself.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(inner) => has_let(&inner.expr),
        _ => false,
    }
}

impl Weaver<'_> {
    /// The numbers and replacements of the kind at the place; they count as woven.
    fn take(&mut self, span: Span, genre: Genre) -> Vec<(usize, String)> {
        let here = self.at.get(&place(span)).into_iter().flatten();
        let taken: Vec<_> = here
            .filter(|(_, mutant)| mutant.genre == genre)
            .map(|(number, mutant)| (*number, mutant.replacement.clone()))
            .collect();
        self.woven.extend(taken.iter().map(|(number, _)| number));
        taken
    }

    fn body(&mut self, block: &mut Block) {
        // Read before what is inside changes.
        let first = block.stmts.first().map(Spanned::span);
        visit_mut::visit_block_mut(self, block);
        let values = first.map(|span| self.take(span, Genre::FnValue)).unwrap_or_default();
        for (number, value) in values.into_iter().rev() {
            let value: Expr = syn::parse_str(&value).expect("a replacement is an expression");
            let number = number as u32;
            block.stmts.insert(0, quoted! { if crate::mutant::on(#number) { return #value; } });
        }
    }

    fn binary(&mut self, whole: &ExprBinary) -> Option<Expr> {
        if has_let(&whole.left) || has_let(&whole.right) {
            return None;
        }
        let others = self.take(whole.op.span(), Genre::BinaryOperator);
        let (left, right, op) = (&whole.left, &whole.right, &whole.op);
        let mut woven: Expr = match op {
            _ if others.is_empty() => return None,
            // One operator replaces the other: the condition to go on is turned round.
            BinOp::And(_) if others.iter().all(|(_, other)| other == "||") => {
                let number = others[0].0 as u32;
                return Some(quoted! { {
                    let left = #left;
                    if left != crate::mutant::on(#number) { #right } else { left }
                } });
            }
            BinOp::Or(_) if others.iter().all(|(_, other)| other == "&&") => {
                let number = others[0].0 as u32;
                return Some(quoted! { {
                    let left = #left;
                    if left == crate::mutant::on(#number) { #right } else { left }
                } });
            }
            _ if assigns(op) => quoted! { { #left #op #right; } },
            _ => quoted! { { left #op right } },
        };
        for (number, other) in others {
            let number = number as u32;
            let other: BinOp = syn::parse_str(&other).expect("a replacement is an operator");
            let then: Expr = match assigns(op) {
                true => quoted! { { #left #other #right; } },
                false => quoted! { { left #other right } },
            };
            woven = quoted! { if crate::mutant::on(#number) #then else { #woven } };
        }
        Some(match op {
            _ if assigns(op) => quoted! { { #woven } },
            _ if compares(op) => {
                quoted! { match (&(#left), &(#right)) { (left, right) => #woven } }
            }
            _ => quoted! { match (#left, #right) { (left, right) => #woven } },
        })
    }

    fn unary(&mut self, whole: &ExprUnary) -> Option<Expr> {
        let (number, _) = self.take(whole.op.span(), Genre::UnaryOperator).pop()?;
        let (number, op, inner) = (number as u32, &whole.op, &whole.expr);
        Some(quoted! {
            match #inner { value => if crate::mutant::on(#number) { value } else { #op value } }
        })
    }
}

fn assigns(op: &BinOp) -> bool {
    use BinOp::{
        AddAssign, BitAndAssign, BitOrAssign, BitXorAssign, DivAssign, MulAssign, RemAssign,
        ShlAssign, ShrAssign, SubAssign,
    };
    matches!(
        op,
        AddAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | BitXorAssign(_)
            | DivAssign(_)
            | MulAssign(_)
            | RemAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
            | SubAssign(_)
    )
}

fn compares(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
    )
}

impl VisitMut for Weaver<'_> {
    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        if function.sig.constness.is_none() {
            self.body(&mut function.block);
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            self.body(&mut function.block);
        }
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut syn::TraitItemFn) {
        if let Some(block) = &mut function.default {
            self.body(block);
        }
    }

    // Constants are no place for a switch.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
    fn visit_item_enum_mut(&mut self, _: &mut syn::ItemEnum) {}
    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let (arm_span, guard_span) =
            (arm.span(), arm.guard.as_ref().map(|(_, guard)| guard.span()));
        visit_mut::visit_arm_mut(self, arm);
        if let (Some(span), Some((_, guard))) = (guard_span, &mut arm.guard) {
            for (number, value) in self.take(span, Genre::MatchArmGuard) {
                let number = number as u32;
                **guard = match value.as_str() {
                    "true" => quoted! { crate::mutant::on(#number) || (#guard) },
                    _ => quoted! { !crate::mutant::on(#number) && (#guard) },
                };
            }
        }
        for (number, _) in self.take(arm_span, Genre::MatchArm) {
            let number = number as u32;
            let guard: Expr = match &arm.guard {
                Some((_, guard)) => quoted! { !crate::mutant::on(#number) && (#guard) },
                None => quoted! { !crate::mutant::on(#number) },
            };
            arm.guard = Some((Default::default(), Box::new(guard)));
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let woven = match expr {
            Expr::Binary(_) | Expr::Unary(_) => {
                visit_mut::visit_expr_mut(self, expr);
                match expr {
                    Expr::Binary(binary) => self.binary(&binary.clone()),
                    Expr::Unary(unary) => self.unary(&unary.clone()),
                    _ => None,
                }
            }
            _ => return visit_mut::visit_expr_mut(self, expr),
        };
        if let Some(woven) = woven {
            *expr = quoted! { (#woven) };
        }
    }
}
