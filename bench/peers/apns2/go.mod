module apns2-driver

go 1.20

require github.com/sideshow/apns2 v0.25.0
