//! What the expressions in Terraform's files come to, without variables and functions.

use hcl::{
    Value,
    edit::{
        expr::{self, BinaryOperator},
        visit::{self, Visit},
    },
    eval::{Context, Evaluate as _},
};

/// What an expression comes to; `None` for one that needs more than itself, or has no result.
pub(super) fn value_of(expression: expr::Expression) -> Option<Value> {
    let mut arithmetic = Arithmetic::default();
    arithmetic.visit_expr(&expression);
    if arithmetic.is_endless {
        return None;
    }
    hcl::Expression::from(expression).evaluate(&Context::new()).ok()
}

/// From here on not every whole number has an `f64` of its own: 2^53.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// Finds arithmetic that has no result, as `1 / 0`, or one that is too large: the evaluator does not expect either, and
/// Terraform refuses the first. What cannot be told beforehand is taken for that as well.
#[derive(Default)]
struct Arithmetic {
    is_endless: bool,
}

impl Visit for Arithmetic {
    fn visit_binary_op(&mut self, node: &expr::BinaryOp) {
        visit::visit_binary_op(self, node);
        let result: fn(f64, f64) -> f64 = match *node.operator.value() {
            BinaryOperator::Plus => |a, b| a + b,
            BinaryOperator::Minus => |a, b| a - b,
            BinaryOperator::Mul => |a, b| a * b,
            BinaryOperator::Div => |a, b| a / b,
            BinaryOperator::Mod => |a, b| a % b,
            _ => return,
        };
        if self.is_endless {
            return;
        }
        let number = |side: &expr::Expression| {
            hcl::Expression::from(side.clone()).evaluate(&Context::new()).ok()?.as_number()?.as_f64()
        };
        let sides = number(&node.lhs_expr).zip(number(&node.rhs_expr));
        // With what is no number the comparison is false, too.
        let is_exact = |number: f64| number.abs() < INEXACT;
        self.is_endless = sides.is_none_or(|(a, b)| ![a, b, result(a, b)].into_iter().all(is_exact));
    }
}
