use super::in_text;

#[test]
fn blocks_are_counted_and_comments_are_not() {
    let opening = concat!("unsafe", " {");
    let text = format!("// {opening}\nlet a = {opening} b() }}; {opening} c() }};\nunsafe fn d() {{}}\n");

    assert_eq!(in_text(&text), 2);
}
